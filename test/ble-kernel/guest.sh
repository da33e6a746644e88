# Runs inside the guest as root, with nothing of the machine below it (image.mjs).

cd "$(dirname "$0")" || exit 1
ip link set lo up 2>/dev/null

echo "BOOT after $(cut -d' ' -f1 /proc/uptime) s, $(uname -r), node $("$NODE" --version)"

# Two controllers of the kernel, emulated by BlueZ. Those for bluetoothd speak LE alone, those for the raw channel may be of both kinds.
controllers() {
  btvirt "$@" > /run/btvirt.log 2>&1 &
  emulator=$!
  for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 0.5; [ "$(hciconfig | grep -c '^hci')" = 2 ] && break; done
}
none() { kill "$emulator"; wait "$emulator" 2>/dev/null; sleep 0.5; }
bluetooth_daemon() {
  [ -S /run/dbus/system_bus_socket ] || dbus-daemon --system --fork
  # Before 5.67 it has Enhanced ATT unless it is told not to (decision 122).
  mkdir -p /etc/bluetooth
  printf '[GATT]\nChannels = 1\n[Policy]\nAutoEnable = true\n' > /etc/bluetooth/main.conf
  "$BLUETOOTHD" -n > /run/bluetoothd.log 2>&1 &
  bluetoothd=$!
  sleep 2
}

# Each suite begins with controllers, a bus and a bluetoothd that nobody has used.
suite() {
  failed=0
  case "$1" in
    raw)
      controllers -L -l2
      hciconfig hci0 up; hciconfig hci1 up; sleep 0.5
      timeout 60 "$NODE" hci.mjs raw hci0 hci1 || failed=1 ;;
    user-channel*)
      controllers -L -l2
      hciconfig hci0 down; hciconfig hci1 down; sleep 0.5
      case "$1" in
        *-nodes) timeout 180 "$NODE" nodes.mjs "$1" hci hci0 hci1 ;;
        *) timeout 60 "$NODE" hci.mjs user-channel hci0 hci1 ;;
      esac || failed=1 ;;
    dbus*)
      bluetooth_daemon
      controllers -l2
      case "$1" in
        *-nodes) timeout 180 "$NODE" nodes.mjs "$1" bluez hci0 hci1 ;;
        *) timeout 120 "$NODE" dbus.mjs hci0 hci1 ;;
      esac || { failed=1; tail -40 /run/bluetoothd.log; } ;;
    *) echo "FAIL $1: there is no such suite" ; return 0 ;;
  esac
  [ "$failed" = 0 ] || cat /run/btvirt.log
  none
  case "$1" in dbus*) kill "$bluetoothd"; wait "$bluetoothd" 2>/dev/null ;; esac
  return "$failed"
}

for name in "$@"; do
  suite "$name" || { [ "$AGAIN" = 1 ] && echo "AGAIN $name" && suite "$name"; }
done
