"""The worker: messages of a topic through the engine, into the store and onto the board.

Read in this order: ``processor.py`` (one partition: the checkpoint, replay and idempotent-write
scheme), ``partitions.py`` (all partitions of one worker), ``app.py`` (the one file that knows
Faust), ``main.py`` (a process), ``supervisor.py`` (the process that starts it again). Beside them
``config.py``, ``metrics.py``, ``web.py``, ``log.py``, ``dead.py``. Importing this package loads none of them.
"""
