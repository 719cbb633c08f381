/* The host terminal: raw while the shim runs (the guest's pty does the line discipline), and as it
 * was afterwards. docs/terminals.md. */
#ifndef CORACLE_TERMINAL_H
#define CORACLE_TERMINAL_H

#include <stdbool.h>
#include <stdint.h>

/* Makes the first terminal among 0, 1 and 2 raw; no terminal is no error. -1 with errno: failed. */
int terminal_open_standard(void);
/* Makes the slave `fd` raw and our controlling terminal: that is how the kernel tells us its size
 * (SIGWINCH) and that the master was closed (SIGHUP). */
int terminal_open_console(int fd);
bool terminal_is_open(void);
/* False while the size is unknown (0 x 0). */
bool terminal_size(uint16_t *columns, uint16_t *rows);
/* True: the terminal belongs to another process group at present, so it can't be read. */
bool terminal_in_background(int fd);
void terminal_restore(void);

#endif
