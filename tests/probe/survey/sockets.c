/* Socket families and protocols: code of the kernel's that few programs need and many attacks begin at. */
#include "survey.h"
#include <linux/netlink.h>
#include <netinet/in.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <linux/tiocl.h>

#define FAMILY(family) ((family) << 16)

static int open_socket(const struct operation *o)
{
	int family = (int)(o->number >> 16), protocol = (int)(o->number & 0xffff);
	static const int kinds[] = {SOCK_RAW, SOCK_DGRAM, SOCK_STREAM, SOCK_SEQPACKET};
	int first = 0;
	/* By any of its kinds: the first answer tells most about the refusal. */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (socket(family, kinds[i] | SOCK_CLOEXEC, protocol) >= 0)
			return 0;
		if (!first || first == ESOCKTNOSUPPORT)
			first = errno;
	}
	return first;
}

static int raw(const struct operation *o)
{
	return done(socket((int)o->number, SOCK_RAW | SOCK_CLOEXEC, o->number == AF_INET ? IPPROTO_ICMP : IPPROTO_ICMPV6));
}

static int low_port(const struct operation *o)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(81)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return fd < 0 ? errno : done(bind(fd, (struct sockaddr *)&address, sizeof(address)));
}

/* A terminal of our own to push into: on somebody else's, what is pushed is a command to their shell. */
static int on_terminal(const struct operation *o)
{
	int master, slave;
	if (openpty(&master, &slave, NULL, NULL, NULL))
		return errno;
	setsid();
	ioctl(slave, TIOCSCTTY, 0);
	char argument[2] = {o->number == TIOCLINUX ? TIOCL_GETSHIFTSTATE : 'x'};
	return gate(ioctl(slave, (unsigned long)o->number, argument));
}

const struct operation sockets[] = {
	{"socket:packet", open_socket, NULL, FAMILY(AF_PACKET)},
	{"socket:raw ipv4", raw, NULL, AF_INET},
	{"socket:raw ipv6", raw, NULL, AF_INET6},
	{"socket:bind below 1024", low_port},
	{"socket:netlink route", open_socket, NULL, FAMILY(AF_NETLINK) | NETLINK_ROUTE},
	{"socket:netlink sock_diag", open_socket, NULL, FAMILY(AF_NETLINK) | NETLINK_SOCK_DIAG},
	{"socket:netlink xfrm", open_socket, NULL, FAMILY(AF_NETLINK) | NETLINK_XFRM},
	{"socket:netlink netfilter", open_socket, NULL, FAMILY(AF_NETLINK) | NETLINK_NETFILTER},
	{"socket:netlink audit", open_socket, NULL, FAMILY(AF_NETLINK) | NETLINK_AUDIT},
	{"socket:netlink uevent", open_socket, NULL, FAMILY(AF_NETLINK) | NETLINK_KOBJECT_UEVENT},
	{"socket:netlink generic", open_socket, NULL, FAMILY(AF_NETLINK) | NETLINK_GENERIC},
	{"socket:netlink crypto", open_socket, NULL, FAMILY(AF_NETLINK) | NETLINK_CRYPTO},
	{"socket:vsock", open_socket, NULL, FAMILY(AF_VSOCK)},
	{"socket:alg", open_socket, NULL, FAMILY(AF_ALG)},
	{"socket:key", open_socket, NULL, FAMILY(AF_KEY)},
	{"socket:xdp", open_socket, NULL, FAMILY(AF_XDP)},
	{"socket:smc", open_socket, NULL, FAMILY(AF_SMC)},
	{"socket:kcm", open_socket, NULL, FAMILY(AF_KCM)},
	{"socket:tipc", open_socket, NULL, FAMILY(AF_TIPC)},
	{"socket:rds", open_socket, NULL, FAMILY(AF_RDS)},
	{"socket:can", open_socket, NULL, FAMILY(AF_CAN) | 1},
	{"socket:bluetooth", open_socket, NULL, FAMILY(AF_BLUETOOTH)},
	{"socket:pppox", open_socket, NULL, FAMILY(AF_PPPOX)},
	{"socket:llc", open_socket, NULL, FAMILY(AF_LLC)},
	{"socket:ax25", open_socket, NULL, FAMILY(AF_AX25)},
	{"socket:qipcrtr", open_socket, NULL, FAMILY(AF_QIPCRTR)},
	{"socket:phonet", open_socket, NULL, FAMILY(AF_PHONET)},
	{"socket:mctp", open_socket, NULL, FAMILY(45)},
	{"socket:sctp", open_socket, NULL, FAMILY(AF_INET) | IPPROTO_SCTP},
	{"socket:mptcp", open_socket, NULL, FAMILY(AF_INET) | IPPROTO_MPTCP},
	{"socket:udplite", open_socket, NULL, FAMILY(AF_INET) | IPPROTO_UDPLITE},
	{"terminal:TIOCSTI", on_terminal, NULL, TIOCSTI},
	{"terminal:TIOCLINUX", on_terminal, NULL, TIOCLINUX},
	{NULL},
};
