"""A result is written in one exchange with Redis, and also into a full one.

Celery's backend asks for the state that a task has, and then sets and publishes the new one in a transaction.
A full Redis refuses that, and the task fails although its work is done. Here one script does the same: a
SUCCESS is never overwritten, and a waiting client is notified. The message of a task that is done leaves
Redis in the next moment, so its result may take the place: up to FULL_BYTES, where results and messages share
a Redis.
"""

# Celery has no types.
# mypy: disable-error-code="misc"

from typing import Any

from celery.backends.redis import RedisBackend
from kombu.utils.encoding import bytes_to_str

#: The largest result that a full Redis accepts.
FULL_BYTES = 16 * 1024

#: Key: the result. Arguments: the result, seconds until it expires (0: never), FULL_BYTES. Answers 1, 0 if
#: there is a SUCCESS already, or -1 if what is there cannot be read here: another serializer than JSON.
STORE = """
local old = redis.call('GET', KEYS[1])
if old then
  local read, meta = pcall(cjson.decode, old)
  if not read or type(meta) ~= 'table' then return -1 end
  if meta.status == 'SUCCESS' then return 0 end
end
local function set()
  if ARGV[2] == '0' then return redis.pcall('SET', KEYS[1], ARGV[1]) end
  return redis.pcall('SETEX', KEYS[1], ARGV[2], ARGV[1])
end
local answer = set()
if answer.err and #ARGV[1] <= tonumber(ARGV[3]) then
  redis.call('DEL', KEYS[1])
  answer = set()
end
if answer.err then return answer end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
"""

_celerys_own = RedisBackend._store_result


def store_result(
    self: Any,
    task_id: str,
    result: Any,
    state: str,
    traceback: Any = None,
    request: Any = None,
    **kwargs: Any,
) -> Any:
    """As KeyValueStoreBackend._store_result, which says what is kept and why."""
    meta = self._get_result_meta(result=result, state=state, traceback=traceback, request=request)
    meta["task_id"] = bytes_to_str(task_id)
    value = self.encode(meta)
    if isinstance(value, str) and len(value) <= self._MAX_STR_VALUE_SIZE:
        key, seconds = self.get_key_for_task(task_id), int(self.expires or 0)
        if self.ensure(_store, (self, key, value, seconds)) >= 0:
            return result
    return _celerys_own(self, task_id, result, state, traceback=traceback, request=request, **kwargs)


def _store(backend: Any, key: Any, value: str, seconds: int) -> int:
    script = backend.__dict__.get("_rootstock_store")
    if script is None:
        script = backend._rootstock_store = backend.client.register_script(STORE)
    return int(script(keys=[key], args=[value, seconds, FULL_BYTES], client=backend.client))


def install() -> None:
    """Have it so for results in Redis."""
    RedisBackend._store_result = store_result
