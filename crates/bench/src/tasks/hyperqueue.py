"""HyperQueue's server and one worker in this process, for quorate bench tasks: a command per line of standard input,
an answer per line of standard output, the end of the input ends it. Arguments: a directory, and the worker's cores."""

import json
import os
import sys
import time

# HyperQueue prints to standard output too: that goes to the log, answers go where only they are.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from hyperqueue.cluster import LocalCluster, WorkerConfig
from hyperqueue.ffi import get_version
from hyperqueue.ffi.protocol import ResourceRequest
from hyperqueue.job import Job

directory, cores = sys.argv[1], int(sys.argv[2])
cluster = LocalCluster(server_dir=os.path.join(directory, "server"), worker_config=WorkerConfig(cores=cores))
client = cluster.client()
# Tasks tell themselves that they run: the client asks for news only once a second.
fifo = os.path.join(directory, "runs")
os.mkfifo(fifo)
told = os.open(fifo, os.O_RDWR)
TELL = ["/bin/sh", "-c", 'echo > "$0"', fifo]


def timed(job):
    """Submits the job; the seconds until one of its tasks tells that it runs come back."""
    description = job._build(client)
    begun = time.monotonic()
    client.connection.submit_job(description)
    os.read(told, 1)
    return time.monotonic() - begun


def burst(number, tasks):
    home = os.path.join(directory, f"job-{number}")
    os.mkdir(home)
    job = Job(default_workdir=home)
    for _ in range(tasks):
        job.program(["/bin/true"])
    # It needs all cores and comes last, so it runs when all others have ended.
    job.program(TELL, priority=-1, resources=ResourceRequest(cpus=cores))
    return timed(job)


def single(number):
    home = os.path.join(directory, f"job-{number}")
    os.mkdir(home)
    job = Job(default_workdir=home)
    job.program(TELL)
    return timed(job)


def answer(value):
    answers.write(json.dumps(value) + "\n")
    answers.flush()


answer({"version": get_version()})
for number, line in enumerate(sys.stdin):
    command = json.loads(line)
    answer({"seconds": single(number) if command["tasks"] == 0 else burst(number, command["tasks"])})
cluster.stop()
