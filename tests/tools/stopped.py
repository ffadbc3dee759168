"""A command that is stopped in the middle: what it leaves running."""
import os
import signal
import subprocess
import time


def session(leader):
    """Processes of the session that `leader` began, ended ones apart."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                state, _, _, sid = f.read().rsplit(") ", 1)[1].split()[:4]
        except OSError:
            continue
        if int(sid) == leader and state not in "ZX":
            found.append(int(pid))
    return found


def stop(cmd, cwd, env, ready, sig=signal.SIGTERM):
    """Starts cmd; sends `sig` to it alone once ready() holds and it has started another. True when nothing of it runs 2 s
    later."""
    p = subprocess.Popen(cmd, cwd=cwd, env=env, start_new_session=True, stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not (ready() and len(session(p.pid)) > 1) and p.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    stopped = p.poll() is None and time.monotonic() < end
    p.send_signal(sig)
    p.wait()
    end = time.monotonic() + 2
    while session(p.pid) and time.monotonic() < end:
        time.sleep(0.05)
    left = session(p.pid)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return stopped and not left
