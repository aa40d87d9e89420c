"""What is sent to a device first: a bootstrap program, and the agent itself as a zip."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from pathlib import Path

import tmkd_deploy
from tmkd_deploy.agent import __main__ as agent_main

# A Python program that fits in any shell's single quotes. It runs what we send next, so no shell
# ever parses user input. The process list shows the name after it.
LOADER = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"
PROCESS_NAME = "tmkd-deploy-agent"

# Runs on any python3 from 3.4 on, so that a version that is too old gets a proper message.
BOOTSTRAP = """\
import sys
sys.path[:] = [place for place in sys.path if place]  # never import a json.py from the home folder
import errno, hashlib, json, os, stat

def stop(code, problem, where=None, advice=""):
    message = {"type": "error", "id": None, "code": code, "problem": problem, "where": where,
               "advice": advice}
    sys.stdout.write('\\n{"tmkd":1,' + json.dumps(message)[1:] + "\\n")
    sys.stdout.flush()
    sys.exit(1)

size, digest = sys.stdin.buffer.readline().decode().split()
content = sys.stdin.buffer.read(int(size))
if sys.version_info < (3, 8):
    stop("environment", "The device's python3 is version %d.%d.%d, which is too old."
         % sys.version_info[:3], sys.executable, "Install Python 3.8 or newer as its python3.")
if hashlib.sha256(content).hexdigest() != digest:
    stop("data", "The agent was corrupted on the way.", None, "Run again.")
root = os.environ.get("TMKD_DEPLOY_AGENT_HOME") or os.path.expanduser("~/.cache/tmkd-deploy/agent")
root = os.path.abspath(root)
agent = os.path.join(root, "agent-" + digest + ".zip")
unfinished = agent + "." + str(os.getpid())

def danger():
    "Why others could put something of theirs into the folder, or into the way to it; or None."
    found = os.lstat(root)
    if not stat.S_ISDIR(found.st_mode):
        return "is a symbolic link"
    if found.st_uid != os.geteuid():
        return "belongs to the user with the id %d" % found.st_uid
    if found.st_mode & 0o022:
        return "may be written by its group or by others"
    above = os.path.dirname(os.path.realpath(root))
    while above != os.path.dirname(above):
        mode = os.stat(above).st_mode
        if mode & 0o002 and not mode & stat.S_ISVTX:
            return "lies in %s, which anyone may write" % above
        above = os.path.dirname(above)
    return None

def is_stored():
    "Whether the stored agent is, to the last byte, the one that was sent."
    if os.path.islink(agent) or not os.path.isfile(agent):
        return False
    with open(agent, "rb") as file:
        return file.read(len(content) + 1) == content

os.umask(0o077)
try:
    os.makedirs(root, 0o700, exist_ok=True)
    # Checked before anything in it is looked at: from then on nobody else can exchange a file
    # between its check and its use.
    reason = danger()
    if reason:
        stop("environment", "The agent's folder on the device %s, so it is not safe to run from."
             % reason, root, "On the device, delete it if it holds nothing else, or set "
             "TMKD_DEPLOY_AGENT_HOME to a folder that belongs to this user and that nobody else "
             "may write.")
    if is_stored():
        os.utime(agent)  # `clean` deletes what is long unused
    else:
        with open(unfinished, "wb") as file:
            file.write(content)
        os.replace(unfinished, agent)
except OSError as error:
    if os.path.exists(unfinished):
        os.remove(unfinished)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    stop("disk_full" if full else "environment",
         "The agent cannot be written on the device: %s." % error.strerror, root,
         "Free some space there." if full else
         "On the device, set TMKD_DEPLOY_AGENT_HOME to a folder that this user can write.")
os.environ["TMKD_DEPLOY_AGENT_HOME"] = root
sys.path.insert(0, agent)
sys.stdout.write("\\n")  # ends any unfinished line that a login script printed
sys.stdout.flush()
from tmkd_deploy.agent.__main__ import main
sys.exit(main())
"""

_PACKAGE = Path(tmkd_deploy.__file__).parent
_AGENT = Path(agent_main.__file__).parent
# what the agent takes of the runtime package: sessions, and what these need
_ALSO_SENT = (
    "*_session.py",
    "cuda_*.py",
    "engine_errors.py",
    "engine_machine.py",
    "gpu_access.py",
    "installed_engines.py",
    "onnx_check.py",
    "onnx_metadata.py",
    "protobuf.py",
    "regular_file.py",
    "runtimes.py",
    "session_options.py",
    "tensorrt_library.py",
)
_EMPTY = ("__init__.py", "runtime/__init__.py")
_OLDEST_DATE = (1980, 1, 1, 0, 0, 0)


@functools.cache
def agent_zip() -> bytes:
    """The agent as a zip that Python can import; the same files give the same bytes."""
    files = dict.fromkeys(_EMPTY, b"")
    also = (path for name in _ALSO_SENT for path in (_PACKAGE / "runtime").glob(name))
    for path in [*_AGENT.rglob("*.py"), *also]:
        files[path.relative_to(_PACKAGE).as_posix()] = path.read_bytes()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"tmkd_deploy/{name}", _OLDEST_DATE)
            archive.writestr(entry, files[name], zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def handshake(agent: bytes) -> bytes:
    """Everything sent to `LOADER`: the bootstrap, then the size, hash and bytes of `agent`."""
    program = BOOTSTRAP.encode()
    digest = hashlib.sha256(agent).hexdigest()
    return b"%d\n%s%d %s\n%s" % (len(program), program, len(agent), digest.encode(), agent)
