/*
 * A module that does nothing, for tests/suite/live/loading.rs: a command, an application and as many completions as the real
 * one has. What loading and unloading it leaves behind is FreeSWITCH's own.
 */
#include <stdio.h>
#include <switch.h>

#include "provide.h"

static const char *completions[] = {"status", "status json", "known", "forget", "report",
									"metrics", "reload", "reopen", "test", "help"};

static switch_status_t command(const char *arguments, switch_core_session_t *session, switch_stream_handle_t *stream)
{
	(void)arguments;
	(void)session;
	stream->write_function(stream, "%s", NAME);
	return SWITCH_STATUS_SUCCESS;
}

static void application(switch_core_session_t *session, const char *data)
{
	(void)session;
	(void)data;
}

static switch_status_t load(switch_loadable_module_interface_t **interface, switch_memory_pool_t *pool)
{
	unsigned number;
	char line[80];
	if (!provide(interface, pool, command, application)) return SWITCH_STATUS_TERM;
	for (number = 0; number < sizeof(completions) / sizeof(*completions); number++) {
		snprintf(line, sizeof(line), "add fail2ban %s", completions[number]);
		switch_console_set_complete(line);
	}
	return SWITCH_STATUS_SUCCESS;
}

static switch_status_t shutdown(void)
{
	switch_console_set_complete("del fail2ban");
	return SWITCH_STATUS_SUCCESS;
}

switch_loadable_module_function_table_t mod_fail2ban_module_interface = {SWITCH_API_VERSION, load, shutdown, NULL, 0};
