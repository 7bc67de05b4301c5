#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles every Swift example of a doc comment and of README.md where people put them: into an
asynchronous `main`, an actor, a class of the main actor, a function of no actor, and each of them
once more in a module whose default isolation is the main actor.

usage: examples.py MODULES [--authentication]

MODULES is the directory with the library's module. An example of a declaration that is not for
asynchronous code is compiled into synchronous ones. Examples of the trait Authentication are left
out, or with --authentication the only ones."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "Tests/Consumers/examples"


class Example:
    def __init__(self, path, line, text, is_blocking, needs_trait):
        self.path, self.line, self.text = path, line, text
        self.is_blocking, self.needs_trait = is_blocking, needs_trait
        self.is_program = "@main" in text or "@Test" in text


def in_comments(path):
    lines = path.read_text().split("\n")
    name = path.relative_to(ROOT)
    traits = []
    for place, line in enumerate(lines):
        if line.strip().startswith("#if"):
            traits.append("Authentication" in line)
        elif line.strip().startswith("#endif"):
            traits.pop()
        if not re.match(r"\s*///\s*```swift$", line):
            continue
        end = next(i for i in range(place + 1, len(lines)) if re.match(r"\s*///\s*```$", lines[i]))
        text = [re.sub(r"^\s*/// ?", "", line) for line in lines[place + 1 : end]]
        declaration = ""
        for line in lines[end + 1 :]:
            if not re.match(r"\s*///", line):
                declaration += line + "\n"
                if re.search(r"\b(func|init|var|let|class|struct|enum|protocol|case|subscript|extension)\b", re.sub(r'".*"', "", line)):
                    break
        yield Example(name, place + 2, "\n".join(text), "noasync" in declaration,
            any(traits) or "authenticationKey" in declaration + "\n".join(text))


def in_page(path):
    lines = path.read_text().split("\n")
    for place, line in enumerate(lines):
        if line == "```swift":
            end = lines.index("```", place)
            text = "\n".join(lines[place + 1 : end])
            if not text.startswith("// swift-tools-version"):
                yield Example(path.relative_to(ROOT), place + 2, text, False, False)


def body(example, context):
    text = "\n".join("      " + line for line in example.text.split("\n"))
    # A scope of its own, for examples that declare the same names.
    return (
        f'    do {{\n#sourceLocation(file: "{example.path}, {context}", line: {example.line})\n'
        f"{text}\n#sourceLocation()\n    }}\n"
    )


def module(examples, effects):
    def functions(context):
        return "".join(
            f"  func example{number}() {effects} {{\n{body(example, context)}  }}\n"
            for number, example in enumerate(examples)
        )

    in_main = "".join(body(example, "in main") for example in examples)
    return (
        "import Dispatch\nimport Given\nimport Glibc\nimport SwiftIPC\n\n"
        f"@main struct Program {{\n  static func main() {effects} {{\n{in_main}  }}\n}}\n"
        f"actor Worker {{\n{functions('in an actor')}}}\n"
        f"@MainActor final class Screen {{\n{functions('in a class of the main actor')}}}\n"
        + functions("in a function of no actor").replace("  func", "nonisolated func")
    )


CONTEXTS = 4
DEFAULTS = [[], ["-default-isolation", "MainActor"]]


def main():
    modules, wants_trait = sys.argv[1], "--authentication" in sys.argv
    found = [e for p in sorted((ROOT / "Sources").rglob("*.swift")) for e in in_comments(p)]
    found += in_page(ROOT / "README.md")
    examples = [example for example in found if example.needs_trait == wants_trait]
    work = tempfile.TemporaryDirectory()
    flags = ["-swift-version", "6", "-I", modules, "-I", work.name]
    flags += ["-Xcc", f"-fmodule-map-file={ROOT}/Sources/CIPC/include/module.modulemap"]
    if wants_trait:
        flags += ["-D", "Authentication"]
    tools = Path(subprocess.check_output(["which", "swiftc"], text=True).strip()).resolve().parent
    flags += ["-plugin-path", f"{tools.parent}/lib/swift/host/plugins/testing"]
    given = ["-emit-module", "-parse-as-library", "-module-name", "Given", "-o", f"{work.name}/Given.swiftmodule"]
    subprocess.run(["swiftc", *flags, *given, HERE / "Given.swift"], check=True)

    jobs = []
    for is_blocking, effects in [(False, "async throws"), (True, "throws")]:
        some = [e for e in examples if e.is_blocking == is_blocking and not e.is_program]
        if some:
            jobs.append((module(some, effects), len(some) * CONTEXTS))
    # By itself, since it says what is its own.
    jobs.append(((HERE / "Isolated.swift").read_text(), 1))
    jobs += [("import SwiftIPC\nimport Testing\n" + example.text.replace("import SwiftIPC", ""), 1) for example in examples if example.is_program]
    passed = failed = 0
    for number, (text, count) in enumerate(jobs):
        path = Path(work.name) / f"job{number}.swift"
        path.write_text(text)
        for default in DEFAULTS:
            # Up to SIL: what is sent to another actor is looked at there.
            command = ["swiftc", *flags, "-parse-as-library", *default, "-emit-sil", "-o", "/dev/null", path]
            result = subprocess.run(command, capture_output=True, text=True)
            errors = sorted(set(re.findall(r"^\S.*: error: .*$", result.stderr, re.MULTILINE)))
            for error in errors:
                print(f"   {error}{' (default isolation: the main actor)' if default else ''}")
            if result.returncode != 0 and not errors:
                print(result.stderr)
            places = {error.split(": error:")[0].rsplit(":", 1)[0] for error in errors}
            bad = len(places) or (result.returncode != 0)
            failed += bad
            passed += count - bad
    if not wants_trait:
        left = len(found) - len(examples)
        print(f"   {left} examples of the trait Authentication: compiled by test-authentication")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


sys.exit(main())
