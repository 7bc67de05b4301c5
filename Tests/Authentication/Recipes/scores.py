import sys
from multiprocessing.managers import SyncManager


class Board:
    def __init__(self):
        self.scores = {}

    def add(self, name, points=1):
        self.scores[name] = self.scores.get(name, 0) + points

    def best(self):
        return self.scores

    def points_of(self, name):
        return self.scores[name]


class Manager(SyncManager):
    pass


board = Board()
Manager.register("board", callable=lambda: board)
server = Manager(sys.argv[1], authkey=b"secret").get_server()
print("listening", flush=True)
server.serve_forever()
