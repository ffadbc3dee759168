/* test_message.c - a message on stderr is one write: fd 2 is a socket that keeps the bounds of writes. */
#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/rt_message.h"

static int reader;

/* The next write to stderr. */
static const char *next(void)
{
	static char text[20000];
	ssize_t n = recv(reader, text, sizeof text - 1, MSG_DONTWAIT);
	text[n > 0 ? n : 0] = 0;
	return text;
}

static void check_long(size_t n)
{
	char word[12000], want[12100];
	memset(word, 'x', n);
	word[n] = 0;
	snprintf(want, sizeof want, "[rank 12] %s %d\n", word, 7);
	rt_say(12, "%s %d", word, 7);
	assert(strcmp(next(), want) == 0);
}

static void on_signal(int sig)
{
	rt_say(1, "signal %d in %.5s", sig, "instruction");
}

int main(void)
{
	int pair[2];
	assert(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0 && dup2(pair[1], STDERR_FILENO) == STDERR_FILENO);
	reader = pair[0];
	rt_say(3, "step %d: %s is not finite at [%d, %d]", 0, "w", 3, 5);
	rt_say(RT_NO_RANK, "unknown option `%s`\nhelp: none", "--x");
	assert(strcmp(next(), "[rank 3] step 0: w is not finite at [3, 5]\n") == 0);
	assert(strcmp(next(), "unknown option `--x`\nhelp: none\n") == 0);
	for (size_t n = 4070; n < 4100; n++)     /* around what needs no memory */
		check_long(n);
	check_long(11000);
	signal(SIGUSR1, on_signal);
	raise(SIGUSR1);
	assert(strcmp(next(), "[rank 1] signal 10 in instr\n") == 0);
	assert(*next() == 0);
	puts("every message is one write");
	return 0;
}
