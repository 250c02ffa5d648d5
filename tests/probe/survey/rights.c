/* Every capability that a process may hold, and whether this one does. */
#include "survey.h"
#include <linux/capability.h>

static int holds(const struct operation *o)
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct sets[2] = {{0}};
	if (syscall(SYS_capget, &head, sets))
		return errno;
	return sets[o->number / 32].effective & 1U << o->number % 32 ? 0 : EPERM;
}

#define RIGHT(name) {"capability:" #name, holds, NULL, CAP_##name}

const struct operation rights[] = {
	RIGHT(CHOWN), RIGHT(DAC_OVERRIDE), RIGHT(DAC_READ_SEARCH), RIGHT(FOWNER), RIGHT(FSETID), RIGHT(KILL),
	RIGHT(SETGID), RIGHT(SETUID), RIGHT(SETPCAP), RIGHT(LINUX_IMMUTABLE), RIGHT(NET_BIND_SERVICE),
	RIGHT(NET_BROADCAST), RIGHT(NET_ADMIN), RIGHT(NET_RAW), RIGHT(IPC_LOCK), RIGHT(IPC_OWNER), RIGHT(SYS_MODULE),
	RIGHT(SYS_RAWIO), RIGHT(SYS_CHROOT), RIGHT(SYS_PTRACE), RIGHT(SYS_PACCT), RIGHT(SYS_ADMIN), RIGHT(SYS_BOOT),
	RIGHT(SYS_NICE), RIGHT(SYS_RESOURCE), RIGHT(SYS_TIME), RIGHT(SYS_TTY_CONFIG), RIGHT(MKNOD), RIGHT(LEASE),
	RIGHT(AUDIT_WRITE), RIGHT(AUDIT_CONTROL), RIGHT(SETFCAP), RIGHT(MAC_OVERRIDE), RIGHT(MAC_ADMIN), RIGHT(SYSLOG),
	RIGHT(WAKE_ALARM), RIGHT(BLOCK_SUSPEND), RIGHT(AUDIT_READ), RIGHT(PERFMON), RIGHT(BPF), RIGHT(CHECKPOINT_RESTORE),
	{NULL},
};
