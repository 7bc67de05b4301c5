from multiprocessing.connection import Connection

parent = Connection(3)
while (order := parent.recv()) is not None:
    parent.send({"sum": sum(order["sizes"]), "colours": {order["colour"], "blue"}, "raw": b"\0\1"})
