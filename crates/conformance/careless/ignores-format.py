"""A careless producer: it does not look which format the spool has. One day it writes into a spool that is not what it
thinks, and says that all is well.

must fail: format
"""

import json, os, tempfile

spool, id, session = (os.environ[name] for name in ("SPOOL_DIR", "SPOOL_ID", "SPOOL_SESSION"))
data = json.dumps({"id": id, "sessionKey": session, "text": os.environ["SPOOL_TEXT"]}, ensure_ascii=False).encode()
assert len(data) <= 262144 and len(session.encode()) <= 512 and session.strip().isprintable() and session == session.strip()
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
