/* main.c - the command line to commands. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "driver.h"

static int version(void)
{
	printf("glmc 0.1.0 (host target%s; cuda target)\n", GLMC_HAVE_MPI ? ", MPI" : ", one rank: built without MPI");
	return ST_OK;
}

/* Commands on a model need one operand that names it. */
static bool one_operand(const Options *o, const char *what)
{
	return o->operands.n == 1 || usage_error("`%s` takes one %s", o->command, what);
}

static int on_model(Comp *c)
{
	const char *command = c->opt->command;
	bool check = strcmp(command, "check") == 0;
	if (check && c->opt->from)
		return command_check_text(c);
	if (!one_operand(c->opt, "model file"))
		return ST_USAGE;
	if (!check && !c->opt->recipe) {
		usage_error("`%s` needs --recipe R.yaml", command);
		return ST_USAGE;
	}
	if (!driver_read(c))
		return driver_status(c);
	if (strcmp(command, "plan") == 0)
		return command_plan(c);
	return command_build(c, !check ? "write" : c->recipe ? "verify" : "fuse");
}

static bool is_on_folder(const char *command)
{
	static const char *const commands[] = {"run", "inspect", "report", "repro"};
	for (size_t i = 0; i < LEN(commands); i++)
		if (strcmp(command, commands[i]) == 0)
			return true;
	return false;
}

static int on_folder(const Comp *c)
{
	const Options *o = c->opt;
	bool inspect = strcmp(o->command, "inspect") == 0;
	if (o->overrides.n) {
		if (strcmp(o->command, "run") == 0)
			usage_error("--%s stands before the folder: options of the ranks follow it", o->overrides.v[0].key);
		else
			unknown_option(o->overrides.v[0].key);
		return ST_USAGE;
	}
	if (strcmp(o->command, "report") == 0)
		return one_operand(o, "build folder") ? command_report(c) : ST_USAGE;
	if (strcmp(o->command, "repro") == 0) {
		bool ok = o->operands.n == 2 || usage_error("`%s` takes a build folder and a kernel", o->command);
		return ok ? command_repro(c->arena, o) : ST_USAGE;
	}
	if (inspect ? o->operands.n < 1 || o->operands.n > 2 : !o->operands.n) {
		usage_error("`%s` takes a build folder%s", o->command, inspect ? " and perhaps a kernel" : "");
		return ST_USAGE;
	}
	return inspect ? command_inspect(o) : command_run(o);
}

static int doctor(const Comp *c)
{
	const Options *o = c->opt;
	bool ok = o->overrides.n ? unknown_option(o->overrides.v[0].key)
	                         : !o->operands.n || usage_error("`doctor` takes no operand");
	return ok ? command_doctor(c) : ST_USAGE;
}

int main(int argc, char **argv)
{
	Arena *arena = arena_new();
	Options o;
	int status = ST_OK;
	if (!options_parse(arena, &o, argc, argv))
		return ST_USAGE;
	Comp *c = comp_new(arena, &o);
	if (o.help)
		options_help();
	else if (o.version)
		status = version();
	else if (o.passes)
		driver_passes();
	else if (o.keys)
		recipe_keys();
	else if (is_on_folder(o.command))
		status = on_folder(c);
	else if (strcmp(o.command, "doctor") == 0)
		status = doctor(c);
	else
		status = on_model(c);
	arena_free(arena);
	return status;
}
