"""A careless producer: it looks for the id in all states, and takes any entry that it finds there for a conflict. A
retry after the delivery fails for ever.

must fail: moved-on
"""

import json, os, tempfile

spool, id, session = (os.environ[name] for name in ("SPOOL_DIR", "SPOOL_ID", "SPOOL_SESSION"))
data = json.dumps({"id": id, "sessionKey": session, "text": os.environ["SPOOL_TEXT"]}, ensure_ascii=False).encode()
assert len(data) <= 262144 and len(session.encode()) <= 512 and session.strip().isprintable() and session == session.strip()
assert open(os.path.join(spool, "format")).read() == "spool 1\n"
for state in ("sending", "deferred", "hold", "dead", "done", "dismissed"):
    for name in os.listdir(os.path.join(spool, state)):
        assert name.split(",")[0] not in (id, id + ".json"), "the id is taken"
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
