"""A careless producer: it writes the file under its final name. Who looks in between reads half a record, and a producer
that is killed there leaves one that no retry can complete.

must fail: unseen
may fail: killed
"""

import json, os, time

spool, id = os.environ["SPOOL_DIR"], os.environ["SPOOL_ID"]
data = json.dumps(
    {"id": id, "sessionKey": os.environ["SPOOL_SESSION"], "text": os.environ["SPOOL_TEXT"]}, ensure_ascii=False
).encode()
session = os.environ["SPOOL_SESSION"]
assert len(data) <= 262144 and len(session.encode()) <= 512 and session.strip().isprintable() and session == session.strip()
assert open(os.path.join(spool, "format")).read() == "spool 1\n"
final = os.path.join(spool, "new", id + ".json")
try:
    fd = os.open(final, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
except FileExistsError:
    assert open(final, "rb").read() == data
else:
    try:
        with os.fdopen(fd, "wb", buffering=0) as file:
            for start in range(0, len(data), 16384):
                assert file.write(data[start : start + 16384]) == len(data[start : start + 16384])
                time.sleep(0.001)
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(final)
        raise
new = os.open(os.path.join(spool, "new"), os.O_RDONLY)
os.fsync(new)
