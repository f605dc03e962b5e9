# Ends a private Postgres when the process that owns it is gone.
#
#   sh -c SCRIPT watchdog DATA_DIR TRASH_DIR
#
# The owner holds the writing end of our standard input and sends lines:
#   group N       kill the process group N if the owner dies (0: forget it)
#   server N      a server is being started in DATA_DIR; N is what a server that
#                 is gone has left in postmaster.pid, 0 for nothing
#   socket PATH   remove this directory, which is outside TRASH_DIR
#   until N       from now on live as long as process N, not as the owner
#   done 0        the owner has cleaned up, go
# End of input means that the owner died. Descriptor 3 is the directory's lock;
# holding it keeps others out until we are through.

data=$1 trash=$2
group=0 server= until=0 socket=

while read -r word value; do
	case $word in
	group) group=$value ;;
	server) server=$value ;;
	socket) socket=$value ;;
	until) until=$value; break ;;
	done) exit 0 ;;
	esac
done

pause() { sleep 0.1 2>/dev/null || sleep 1; }

# The first line of postmaster.pid is the server's process id. A server that is
# only just being started has not written its own yet, hence the tries.
pid=
find_server() {
	tries=$1
	while [ "$tries" -gt 0 ]; do
		{ read -r pid <"$data/postmaster.pid"; } 2>/dev/null && [ -n "$pid" ] && [ "$pid" != "$server" ] && return 0
		tries=$((tries - 1))
		pause
	done
	pid=
	return 1
}

# A zombie still answers to kill -0; its file is gone if it ended in good order.
running() {
	{ read -r now <"$data/postmaster.pid"; } 2>/dev/null && [ "$now" = "$pid" ] && kill -0 "$pid" 2>/dev/null
}

if [ "$until" -gt 0 ]; then
	find_server 50
	while kill -0 "$until" 2>/dev/null && running; do
		sleep 1
	done
fi

[ "$group" -gt 0 ] && kill -s KILL -- "-$group" 2>/dev/null

if [ -n "$server" ] && find_server 30; then
	kill -s INT "$pid" 2>/dev/null
	waited=0
	while running && [ "$waited" -lt 200 ]; do
		waited=$((waited + 1))
		[ "$waited" -eq 100 ] && kill -s QUIT "$pid" 2>/dev/null
		[ "$waited" -eq 150 ] && kill -s KILL "$pid" 2>/dev/null
		pause
	done
fi

[ -n "$socket" ] && rm -rf "$socket"
if [ -n "$trash" ]; then
	# The lock goes last: a directory with contents and no lock is nobody's.
	for entry in "$trash"/*; do
		[ "$entry" = "$trash/lock" ] || rm -rf "$entry"
	done
	rm -f "$trash/lock"
	rmdir "$trash" 2>/dev/null
fi
exit 0
