"""A careless producer: the time is in its record, so that a retry has other bytes and is a conflict with itself.

must fail: retry
may fail: killed
"""

import json, os, tempfile, time

spool, id, session = (os.environ[name] for name in ("SPOOL_DIR", "SPOOL_ID", "SPOOL_SESSION"))
record = {"id": id, "sessionKey": session, "text": os.environ["SPOOL_TEXT"], "createdAt": time.time_ns() // 1_000_000}
data = json.dumps(record, ensure_ascii=False).encode()
assert len(data) <= 262144 and len(session.encode()) <= 512 and session.strip().isprintable() and session == session.strip()
assert open(os.path.join(spool, "format")).read() == "spool 1\n"
final = os.path.join(spool, "new", id + ".json")
fd, staged = tempfile.mkstemp(dir=os.path.join(spool, "tmp"))
try:
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(staged, final)
    except FileExistsError:
        if open(final, "rb").read() != data:
            raise
finally:
    os.unlink(staged)
os.fsync(os.open(os.path.join(spool, "new"), os.O_RDONLY))
