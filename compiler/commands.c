/* commands.c - what glmc does besides planning: build, run, doctor. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/status.h"
#include "driver.h"
#include "emit/nvrtc.h"

int command_build(Comp *c, const char *last)
{
	if (!driver_run(c, last))
		return driver_status(c);
	if (!c->opt->quiet && strcmp(last, "write") != 0)
		printf("%s: no errors\n", c->opt->operands.v[0]);
	return ST_OK;
}

/* ---- run ---- */

/* The status that a rank gave itself: mpirun passes on the first one that is not 0, and 128 + n for a
 * rank that a signal ended. 1 is mpirun's own failure, 126 and 127 the shell's. */
static int run_status(int wait_status)
{
	int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128;
	static const int of_ranks[] = {ST_OK, ST_USAGE, ST_ENV, ST_DATA, ST_COMM, ST_NUMERIC, ST_MEMORY, ST_BUG};
	for (size_t i = 0; i < LEN(of_ranks); i++)
		if (status == of_ranks[i])
			return status;
	return status == 1 || status == 126 || status == 127 ? ST_ENV : ST_COMM;
}

/* The launcher, and the signal that ended the run: for the signal handler. */
static volatile sig_atomic_t launcher, ended_by;

static void pass_on(int sig)
{
	ended_by = sig;
	if (launcher > 0)
		kill((pid_t)launcher, sig);
}

/* Starts the launcher; it gets our signals and does not outlive us. */
static pid_t start_launcher(char *const *argv)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction on = {.sa_handler = pass_on, .sa_flags = SA_RESTART};
	fflush(NULL);
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		if (getppid() == parent)
			execv(argv[0], argv);
		_exit(ST_ENV);
	}
	launcher = pid;
	for (size_t i = 0; i < LEN(signals); i++)
		sigaction(signals[i], &on, NULL);
	return pid;
}

int command_run(const Options *o)
{
	Arena *a = arena_new();
	const char *script = path_join(a, o->operands.v[0], "launch.sh");
	VEC(char *) argv = {0};
	int status = 0;
	if (!file_exists(script)) {
		fprintf(stderr, "glmc: error: %s is no build folder: there is no %s\nhelp: make one with `glmc build MODEL.glm "
		                "--recipe R.yaml -o %s`\n", o->operands.v[0], script, o->operands.v[0]);
		return ST_INPUT;
	}
	vec_push(a, &argv, arena_strdup(a, "/bin/sh"));
	vec_push(a, &argv, arena_strdup(a, script));
	for (uint32_t i = 0; i < o->rest.n; i++)
		vec_push(a, &argv, arena_strdup(a, o->rest.v[i]));
	vec_push(a, &argv, (char *)NULL);
	pid_t pid = start_launcher(argv.v);
	if (pid < 0 || waitpid(pid, &status, 0) < 0) {
		fprintf(stderr, "glmc: error: cannot start %s: %s\n", script, strerror(errno));
		return ST_ENV;
	}
	arena_free(a);
	if (ended_by) {
		signal(ended_by, SIG_DFL);
		raise(ended_by);
	}
	return run_status(status);
}

/* ---- doctor ---- */

static bool first_line(const char *command, char *out, size_t size)
{
	FILE *f = popen(command, "r");
	bool ok = f && fgets(out, (int)size, f);
	if (ok)
		out[strcspn(out, "\r\n")] = 0;
	return f && pclose(f) == 0 && ok;
}

static bool report(const char *what, bool ok, const char *found, const char *cure)
{
	printf("  %-24s %-8s %s\n", what, ok ? "found" : "MISSING", ok ? found : cure);
	return ok;
}

int command_doctor(const Comp *c)
{
	char text[256], command[600];
	const char *cc = getenv("CC");
	printf("host target\n");
	snprintf(command, sizeof command, "%s --version 2>/dev/null", cc && *cc ? cc : "cc");
	bool host = report("C compiler", first_line(command, text, sizeof text), text,
	                   "install gcc (Debian: build-essential) or set CC");
	host &= report("runtime library", file_exists(c->install.library), c->install.library,
	               "build the target glmc_rt");
	host &= report("templates", file_exists(path_join(c->arena, c->install.templates, "host/gemm.h")),
	               c->install.templates, "reinstall glmc");
	host &= report("models", file_exists(path_join(c->arena, c->install.models, "glm5.glm")),
	               c->install.models, "reinstall glmc");
	bool mpi = report("MPI in the runtime", GLMC_HAVE_MPI, "built in",
	                  "one rank only; install libopenmpi-dev and configure again");
	mpi &= report("mpirun", first_line("mpirun --version 2>/dev/null", text, sizeof text), text,
	              "several ranks need it; Debian: openmpi-bin");
	printf("cuda target\n");
	int major = 0, minor = 0;
	char missing[400];
	bool nvrtc = nvrtc_version(&major, &minor, missing);
	snprintf(text, sizeof text, "version %d.%d", major, minor);
	bool cuda = report("NVRTC", nvrtc, text, "install the CUDA toolkit 12.4 or newer, or set GLMC_NVRTC");
	cuda &= report("rank executable", file_exists(c->install.rank_cuda), c->install.rank_cuda,
	               "build the target glmc_rank_cuda");
	report("GPU driver", first_line("nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null", text,
	                                sizeof text), text, "ranks of the cuda target need libcuda.so.1; building does not");
	printf("\nhost target: %s\ncuda target: %s\n", !host ? "not usable" : mpi ? "ready" : "ready for one rank",
	       cuda ? "builds; ranks run where there is a driver" : "plans, and writes sources without binaries");
	return host ? ST_OK : ST_ENV;
}
