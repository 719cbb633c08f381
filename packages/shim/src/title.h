/* What ps(1) shows of the shim: the command that it stands for, as on a host without VMs. */
#ifndef CORACLE_TITLE_H
#define CORACLE_TITLE_H

#include "options.h"

/* Writes o->title over argv, whose end stays where it was (proc(5), /proc/PID/cmdline); nothing of argv may be
 * used afterwards, so options that point into it are copied first. The name, /proc/PID/comm, stays coracle-shim.
 * 0, or -1 without memory. */
int title_show(struct options *o, char **argv);

#endif
