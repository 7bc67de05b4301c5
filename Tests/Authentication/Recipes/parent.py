import subprocess
import sys
from multiprocessing import Pipe

ours, theirs = Pipe()
worker = subprocess.Popen([sys.argv[1], str(theirs.fileno())], pass_fds=[theirs.fileno()])
theirs.close()
ours.send([1, 2.5, 4])
print(ours.recv())
ours.close()
worker.wait()
