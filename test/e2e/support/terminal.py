"""Runs a command on a terminal of its own: terminal.py COLUMNS ROWS STEPS COMMAND...

STEPS is JSON, a list of [text, action]: when the command has written `text` since the step before, `action` is done, which is
{"keys": "q"}, {"resize": [40, 12]} or {"signal": 15}. Everything the command writes goes to standard output; at the end one line of JSON on
standard error says its status and whether the terminal is in its usual mode again.
"""
import fcntl, json, os, select, struct, sys, termios

columns, rows, steps, command = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:]


def resize(fd, columns, rows):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


# The parent keeps the terminal's other side open, so that its mode can be read when the command has ended.
main, side = os.openpty()
resize(main, columns, rows)
pid = os.fork()
if pid == 0:
    os.setsid()
    os.close(main)
    fcntl.ioctl(side, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(side, fd)
    os.execvp(command[0], command)

seen = b""
status = None
while True:
    # A terminal whose other side is open has no end: once the command is gone, what it wrote is read until nothing is left.
    ready, _, _ = select.select([main], [], [], 0.02)
    if not ready:
        if status is not None:
            break
        gone, value = os.waitpid(pid, os.WNOHANG)
        if gone == pid:
            status = os.waitstatus_to_exitcode(value)
        continue
    chunk = os.read(main, 65536)
    os.write(1, chunk)
    seen += chunk
    while steps and steps[0][0].encode() in seen:
        text, action = steps.pop(0)
        seen = seen[seen.index(text.encode()) + len(text.encode()):]
        if "keys" in action:
            os.write(main, action["keys"].encode())
        if "resize" in action:
            # The kernel tells the command by SIGWINCH.
            resize(main, *action["resize"])
        if "signal" in action:
            os.kill(pid, action["signal"])

local = termios.tcgetattr(side)[3]
usual = bool(local & termios.ICANON) and bool(local & termios.ECHO) and bool(local & termios.ISIG)
print(json.dumps({"status": status, "usual": usual, "stepsLeft": len(steps)}), file=sys.stderr)
