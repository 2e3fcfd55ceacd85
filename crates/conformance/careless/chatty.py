"""A careless producer: it keeps a log of its own in the spool, where only the spool's files belong.

must fail: alone, moved-on
"""

import json, os, tempfile

spool, id, session = (os.environ[name] for name in ("SPOOL_DIR", "SPOOL_ID", "SPOOL_SESSION"))
data = json.dumps({"id": id, "sessionKey": session, "text": os.environ["SPOOL_TEXT"]}, ensure_ascii=False).encode()
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
        try:
            with open(os.path.join(spool, "journal", "producers.log"), "a") as log:
                log.write(f"published {id}\n")
        except OSError:
            pass
    except FileExistsError:
        if open(final, "rb").read() != data:
            raise
finally:
    os.unlink(staged)
os.fsync(os.open(os.path.join(spool, "new"), os.O_RDONLY))
