"""A careless producer: it forgets its file in tmp/. The record has two names then, and intake, which trusts no file with
a second name, leaves it where it is.

must fail: tidy
may fail: retry, conflict
"""

import json, os, tempfile

spool, id, session = (os.environ[name] for name in ("SPOOL_DIR", "SPOOL_ID", "SPOOL_SESSION"))
data = json.dumps({"id": id, "sessionKey": session, "text": os.environ["SPOOL_TEXT"]}, ensure_ascii=False).encode()
assert len(data) <= 262144 and len(session.encode()) <= 512 and session.strip().isprintable() and session == session.strip()
assert open(os.path.join(spool, "format")).read() == "spool 1\n"
final = os.path.join(spool, "new", id + ".json")
fd, staged = tempfile.mkstemp(dir=os.path.join(spool, "tmp"))
with os.fdopen(fd, "wb") as file:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())
try:
    os.link(staged, final)
except FileExistsError:
    if open(final, "rb").read() != data:
        raise
os.fsync(os.open(os.path.join(spool, "new"), os.O_RDONLY))
