# Runs inside the guest as root, with the files of the machine below it; what is written is gone with it.
export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
cd "$(dirname "$0")" || exit 1
ip link set lo up 2>/dev/null
mkdir -p /run/dbus
echo "BOOT after $(cut -d' ' -f1 /proc/uptime) s, $(uname -r), node $(node --version)"

# Two controllers of the kernel, emulated by BlueZ. Those for bluetoothd speak LE alone, those for the raw channel may be of both kinds.
controllers() {
  btvirt "$@" > /run/btvirt.log 2>&1 &
  emulator=$!
  for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5; [ "$(hciconfig | grep -c '^hci')" = 2 ] && break; done
}
none() { kill "$emulator"; wait "$emulator" 2>/dev/null; sleep 0.5; }

for suite in "$@"; do
  case "$suite" in
    raw)
      controllers -L -l2
      hciconfig hci0 up; hciconfig hci1 up; sleep 0.5
      timeout 60 node hci.mjs raw hci0 hci1 || cat /run/btvirt.log
      none ;;
    user-channel)
      controllers -L -l2
      hciconfig hci0 down; hciconfig hci1 down; sleep 0.5
      timeout 60 node hci.mjs user-channel hci0 hci1 || cat /run/btvirt.log
      none ;;
    dbus)
      dbus-daemon --system --fork
      /usr/libexec/bluetooth/bluetoothd -n > /run/bluetoothd.log 2>&1 &
      sleep 2
      controllers -l2
      timeout 120 node dbus.mjs hci0 hci1 || tail -40 /run/bluetoothd.log
      ;;
  esac
done
