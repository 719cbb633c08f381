#include "options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bounds.h"

enum { SOCKET = 256, SANDBOX, PROCESS, STDIN, TERMINAL, NAME, READY_FD, START_PROXY, CONSOLE, EXIT_FILE, HOME, ON_NETWORK };

static const struct option table[] = {
	{ "socket", required_argument, NULL, SOCKET },
	{ "sandbox", required_argument, NULL, SANDBOX },
	{ "process", required_argument, NULL, PROCESS },
	{ "stdin", no_argument, NULL, STDIN },
	{ "terminal", no_argument, NULL, TERMINAL },
	{ "name", required_argument, NULL, NAME },
	{ "ready-fd", required_argument, NULL, READY_FD },
	{ "start-proxy", required_argument, NULL, START_PROXY },
	{ "console", required_argument, NULL, CONSOLE },
	{ "exit-file", required_argument, NULL, EXIT_FILE },
	{ "home", required_argument, NULL, HOME },
	{ "on-network", required_argument, NULL, ON_NETWORK },
	{ NULL, 0, NULL, 0 },
};

static int number(const char *text, long min, long max, long *out)
{
	char *end;

	errno = 0;
	*out = strtol(text, &end, 10);
	return errno || end == text || *end || *out < min || *out > max ? -1 : 0;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* The token lets anybody attach to the process, so it also disappears from /proc/PID/environ. */
static int take_token(uint8_t token[16])
{
	char *text = getenv("CORACLE_TOKEN");
	int result = -1;

	if (!text)
		return -1;
	if (strlen(text) == 32) {
		result = 0;
		for (int i = 0; i < 16; i++) {
			int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
			if (high < 0 || low < 0)
				result = -1;
			token[i] = (uint8_t)(high << 4 | low);
		}
	}
	explicit_bzero(text, strlen(text));
	unsetenv("CORACLE_TOKEN");
	return result;
}

static bool is_sandbox_id(const char *id)
{
	size_t length = strlen(id);

	return length >= 1 && length <= SANDBOX_BYTES_MAX &&
	       strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") == length;
}

static int descriptor_number(const char *text, int *out)
{
	long value;

	if (number(text, 3, 1 << 20, &value) < 0 || fcntl((int)value, F_GETFD) < 0)
		return -1;
	*out = (int)value;
	return fcntl(*out, F_SETFD, FD_CLOEXEC);
}

static int bad(char *error, unsigned long size, const char *option, const char *must)
{
	snprintf(error, size, "coracle-shim: %s %s", option, must);
	return -1;
}

int options_parse(struct options *o, int argc, char **argv, char *error, unsigned long size)
{
	int c, homes = 0, words = 0, token = take_token(o->token);
	long value = 0;

	o->ready_fd = o->console_fd = -1;
	for (int i = 0; i < HOME_NAMESPACES; i++)
		o->home_fds[i] = -1;
	opterr = 0;
	while ((c = getopt_long(argc, argv, "+", table, NULL)) != -1) {
		switch (c) {
		case SOCKET: o->socket = optarg; break;
		case SANDBOX: o->sandbox = optarg; break;
		case STDIN: o->forward_stdin = true; break;
		case TERMINAL: o->terminal = true; break;
		case NAME: o->name = optarg; break;
		case START_PROXY: o->start_proxy = optarg; break;
		case EXIT_FILE: o->exit_file = optarg; break;
		case PROCESS:
			if (number(optarg, 1, PROCESS_NUMBER_MAX, &value) < 0)
				return bad(error, size, "--process", "takes a number from 1 to 1073741823");
			o->process = (uint32_t)value;
			break;
		case READY_FD:
			if (descriptor_number(optarg, &o->ready_fd) < 0)
				return bad(error, size, "--ready-fd", "takes an open descriptor above 2");
			break;
		case CONSOLE:
			if (descriptor_number(optarg, &o->console_fd) < 0)
				return bad(error, size, "--console", "takes an open descriptor above 2");
			break;
		case ON_NETWORK:
			if (words == ON_NETWORK_WORDS)
				return bad(error, size, "--on-network", "is given too often");
			o->on_network[words++] = optarg;
			break;
		case HOME:
			if (homes == HOME_NAMESPACES)
				return bad(error, size, "--home", "is given too often");
			if (descriptor_number(optarg, &o->home_fds[homes++]) < 0)
				return bad(error, size, "--home", "takes an open descriptor above 2");
			break;
		default:
			return bad(error, size, argv[optind - 1], "is unknown or lacks its value");
		}
	}
	if (optind < argc && strcmp(argv[optind - 1], "--") != 0)
		return bad(error, size, argv[optind], "is not an option");
	o->title = argv + optind;
	if (!o->socket)
		return bad(error, size, "--socket", "is missing");
	if (!o->sandbox || !is_sandbox_id(o->sandbox))
		return bad(error, size, "--sandbox", "takes 1 to 128 characters of A-Za-z0-9_.-");
	if (!o->process)
		return bad(error, size, "--process", "is missing");
	if (o->console_fd >= 0 && !o->terminal)
		return bad(error, size, "--console", "needs --terminal");
	if (token < 0)
		return bad(error, size, "CORACLE_TOKEN", "in the environment must be 32 hex digits");
	return 0;
}
