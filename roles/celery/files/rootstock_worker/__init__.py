"""What hardens a Celery worker on Redis at run time, for any application and without a change in it.

`celery worker -I rootstock_worker.install` loads it before the worker connects. Every program of the
application is started by `python -m rootstock_worker.run`, with what is not for workers only: settings,
sent_at and beat. Each module is one concern:

beat          a killed beat does not send again what was due before
broker        kombu's transport with what follows
children      no child process outlives its worker, and a child's death does not lose its task
dead_letters  where messages are kept that no worker may run; also the command that shows and replays them
envelope      what is no message, and how often one was delivered
drain         how long the tasks of a stopping worker have
events        published ten times a second, and not waited for
heartbeat     proof that the worker consumes, for the watchdog
holders       what a dead process held goes back at once
publishing    a retry or a chain that cannot be published puts its task back
refusals      which of Redis' errors pass by themselves
results       written in one exchange, and into a full Redis
run           starts a program of the application
sent_at       when a message was published, for the time in its queue
settings      Celery's settings by the inventory
taking        a message is in its queue or with a worker at every moment

It keeps to what Celery and kombu document. Where they offer no such place, the module says what of their
inside it uses; the tests run against the packages themselves.
"""
