"""A careless producer: a taken name is a success for it, whatever is there.

must fail: conflict, race
"""

import json, os, tempfile

spool, id, session = (os.environ[name] for name in ("SPOOL_DIR", "SPOOL_ID", "SPOOL_SESSION"))
data = json.dumps({"id": id, "sessionKey": session, "text": os.environ["SPOOL_TEXT"]}, ensure_ascii=False).encode()
assert len(data) <= 262144 and len(session.encode()) <= 512 and session.strip().isprintable() and session == session.strip()
assert open(os.path.join(spool, "format")).read() == "spool 1\n"
fd, staged = tempfile.mkstemp(dir=os.path.join(spool, "tmp"))
try:
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(staged, os.path.join(spool, "new", id + ".json"))
    except FileExistsError:
        pass
finally:
    os.unlink(staged)
os.fsync(os.open(os.path.join(spool, "new"), os.O_RDONLY))
