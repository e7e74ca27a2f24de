"""Job queues of Python with makoredis as broker: a thousand jobs each, none lost, none done twice."""

import sys
import time
from pathlib import Path

import pytest
import redis

from tests.compat.client_programs import Background, python_packages, run_program, write
from tests.server_process import ServerProcess

JOBS = 1000
WAIT_S = 180

pytestmark = pytest.mark.long


@pytest.fixture
def client(makoredis_server: ServerProcess) -> redis.Redis:
    connection = redis.Redis(port=makoredis_server.port, decode_responses=True)
    connection.flushall()
    return connection


def wait_for_jobs(client: redis.Redis, worker: Background) -> None:
    """Every job counts how often it ran in the hash `done`."""
    deadline = time.monotonic() + WAIT_S
    while client.hlen("done") < JOBS:
        assert time.monotonic() < deadline, f"{client.hlen('done')} of {JOBS} jobs done\n{worker.output()[-4000:]}"
        time.sleep(0.1)
    done = client.hgetall("done")
    assert {int(number) for number in done} == set(range(JOBS))
    assert set(done.values()) == {"1"}, "a job ran twice"


def test_celery(makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path) -> None:
    """Jobs, results, retries, a chord (which counts in the result backend), and a delayed job."""
    environment = python_packages(tmp_path, "celery")
    write(
        tmp_path,
        "tasks.py",
        f"""
        import redis
        from celery import Celery

        url = "redis://127.0.0.1:{makoredis_server.port}/0"
        app = Celery("tasks", broker=url, backend=url)
        app.conf.broker_connection_retry_on_startup = True
        client = redis.Redis(port={makoredis_server.port})


        @app.task(bind=True, max_retries=2)
        def work(self, number):
            if number % 100 == 0 and self.request.retries == 0:
                raise self.retry(countdown=0.2)
            client.hincrby("done", number, 1)
            return number


        @app.task
        def total(numbers):
            return sum(numbers)
        """,
    )
    write(
        tmp_path,
        "produce.py",
        f"""
        from celery import chord
        from tasks import total, work

        results = [work.delay(number) for number in range({JOBS - 21})]
        summed = chord(work.s(number) for number in range({JOBS - 21}, {JOBS - 1}))(total.s())
        late = work.apply_async(({JOBS - 1},), countdown=1)
        assert [result.get(timeout={WAIT_S}) for result in results] == list(range({JOBS - 21}))
        assert summed.get(timeout={WAIT_S}) == sum(range({JOBS - 21}, {JOBS - 1}))
        assert late.get(timeout={WAIT_S}) == {JOBS - 1}
        """,
    )
    celery = [sys.executable, "-m", "celery", "-A", "tasks"]
    words = [*celery, "worker", "--pool=threads", "--concurrency=4", "--loglevel=WARNING"]
    with Background(words, tmp_path, environment) as worker:
        run_program([sys.executable, "produce.py"], tmp_path, environment)
        wait_for_jobs(client, worker)


def test_rq(makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path) -> None:
    """Jobs, results, and a job that fails and is retried."""
    environment = python_packages(tmp_path, "rq")
    write(
        tmp_path,
        "jobs.py",
        f"""
        import redis

        client = redis.Redis(port={makoredis_server.port})


        def work(number):
            client.hincrby("done", number, 1)
            return number


        def fails_once():
            if client.incr("tries") == 1:
                raise ValueError("once")
            return "done"
        """,
    )
    write(
        tmp_path,
        "produce.py",
        f"""
        import time

        import jobs
        from rq import Queue, Retry, SimpleWorker

        queue = Queue(connection=jobs.client)
        enqueued = queue.enqueue_many(Queue.prepare_data(jobs.work, (number,)) for number in range({JOBS}))
        failing = queue.enqueue(jobs.fails_once, retry=Retry(max=2))
        SimpleWorker([queue], connection=jobs.client).work(burst=True, logging_level="WARNING")
        assert [job.return_value(refresh=True) for job in enqueued[::97]] == list(range(0, {JOBS}, 97))
        assert failing.return_value(refresh=True) == "done"
        assert queue.count == 0
        """,
    )
    words = [sys.executable, "produce.py"]
    run_program(words, tmp_path, environment)
    done = client.hgetall("done")
    assert done == {str(number): "1" for number in range(JOBS)}


def test_huey(makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path) -> None:
    """Jobs that block on a list, results, retries, delayed jobs, priorities in a sorted set."""
    environment = python_packages(tmp_path, "huey")
    write(
        tmp_path,
        "tasks.py",
        f"""
        import redis
        from huey import PriorityRedisHuey

        huey = PriorityRedisHuey("jobs", port={makoredis_server.port}, blocking=True)
        client = redis.Redis(port={makoredis_server.port})


        @huey.task(retries=1)
        def work(number):
            if number % 100 == 0 and client.hincrby("tries", number, 1) == 1:
                raise ValueError("once")
            client.hincrby("done", number, 1)
            return number
        """,
    )
    write(
        tmp_path,
        "produce.py",
        f"""
        from tasks import work

        results = [work(number) for number in range({JOBS - 1})]
        late = work.schedule(({JOBS - 1},), delay=2)
        assert results[1].get(blocking=True, timeout={WAIT_S}) == 1
        assert late.get(blocking=True, timeout={WAIT_S}) == {JOBS - 1}
        """,
    )
    words = [sys.executable, "-m", "huey.bin.huey_consumer", "tasks.huey", "-w", "4", "-q"]
    with Background(words, tmp_path, environment) as worker:
        run_program([sys.executable, "produce.py"], tmp_path, environment)
        wait_for_jobs(client, worker)


def test_django_cache(makoredis_server: ServerProcess, client: redis.Redis, tmp_path: Path) -> None:
    environment = python_packages(tmp_path, "django")
    write(
        tmp_path,
        "program.py",
        f"""
        import time

        from django.conf import settings

        location = "redis://127.0.0.1:{makoredis_server.port}/1"
        settings.configure(
            CACHES={{"default": {{"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": location}}}}
        )
        from django.core.cache import cache

        cache.set("key", {{"a": [1, 2]}}, timeout=60)
        assert cache.get("key") == {{"a": [1, 2]}}
        assert cache.add("key", 1) is False and cache.add("new", 1) is True
        assert cache.incr("new", 41) == 42 and cache.decr("new") == 41
        assert cache.touch("key", 30) and not cache.touch("missing")
        cache.set_many({{f"k{{number}}": number for number in range(500)}}, timeout=60)
        assert cache.get_many([f"k{{number}}" for number in range(500)]) == {{f"k{{n}}": n for n in range(500)}}
        cache.delete_many([f"k{{number}}" for number in range(250)])
        assert cache.get("k249") is None and cache.has_key("k250")
        assert cache.get_or_set("computed", lambda: "value") == "value"
        cache.set("short", 1, timeout=1)
        time.sleep(1.3)
        assert cache.get("short") is None
        cache.set("versioned", "old", version=1)
        cache.incr_version("versioned")
        assert cache.get("versioned") is None and cache.get("versioned", version=2) == "old"
        cache.clear()
        assert cache.get("key") is None
        """,
    )
    run_program([sys.executable, "program.py"], tmp_path, environment)
