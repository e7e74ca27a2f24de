"""A user's rules hold for what its scripts call, whichever node runs them."""

from pathlib import Path

import pytest
import redis

from tests.cluster.processes import Cluster

SET = "return redis.call('SET', KEYS[1], ARGV[1])"
HIDDEN = "return redis.call('GET', 'se' .. 'cret')"
CHECKED = "return {redis.acl_check_cmd('GET', 'mine:1'), redis.acl_check_cmd('GET', 'secret')}"


def test_scripts_of_a_restricted_user_run_with_its_permissions_on_any_leader(tmp_path: Path) -> None:
    with Cluster(tmp_path).start() as cluster:
        leader = cluster.leader()
        follower = cluster.followers(leader)[0]
        rules = ("on", ">word", "+@all", "-sadd", "~mine:*", "resetchannels", "(%R~read:* +get)")
        with follower.client() as admin:
            admin.execute_command("ACL", "SETUSER", "carl", *rules)
            admin.set("secret", "hidden")
            admin.set("read:1", "shown")
        with leader.client() as other:
            assert b"carl" not in other.acl_users(), "users are a node's own"
            assert other.eval(CHECKED, 0) == [1, 1]
        with follower.client(username="carl", password="word") as carl:
            assert carl.eval(SET, 1, "mine:1", "x") == b"OK"
            assert carl.eval(CHECKED, 0) == [1, None]
            assert carl.eval("return redis.call('GET', 'read:1')", 0) == b"shown"
            for script in (HIDDEN, "return redis.call('SADD', 'mine:set', 1)", "return redis.call('SET', 'read:1', 1)"):
                with pytest.raises(redis.exceptions.ResponseError, match="The user executing the script"):
                    carl.eval(script, 0)
            pipeline = carl.pipeline(transaction=True)
            pipeline.set("mine:2", "y").eval(SET, 1, "mine:3", "z").eval(HIDDEN, 0)
            answers = pipeline.execute(raise_on_error=False)
            assert answers[:2] == [True, b"OK"]
            assert "The user executing the script" in str(answers[2])
        with follower.client() as free:
            assert free.eval(HIDDEN, 0) == b"hidden"
