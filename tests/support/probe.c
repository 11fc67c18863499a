/*
 * A module for tests/suite/stand_in.rs and tests/suite/life_cycle.rs: it calls whatever the stand-in offers, and says in the
 * host's log what came of it. NAME tells one build from another.
 */
#include <stdio.h>
#include <string.h>
#include <switch.h>

#include "provide.h"

#ifndef NAME
#define NAME "probe"
#endif

static switch_event_node_t *custom, *message;
static switch_xml_binding_t *search;
static int logger_is_bound;

static void say(const char *text)
{
	switch_log_printf(SWITCH_CHANNEL_ID_LOG, __FILE__, __func__, __LINE__, NULL, SWITCH_LOG_INFO, "%s\n", text);
}

static void on_event(switch_event_t *event)
{
	char text[200];
	snprintf(text, sizeof(text), NAME ": event %d for %s", event->event_id, (const char *)event->bind_user_data);
	say(text);
}

static switch_status_t on_log_line(const switch_log_node_t *node, switch_log_level_t level)
{
	char text[300];
	/* What the loader itself says. */
	if (level == SWITCH_LOG_CONSOLE) return SWITCH_STATUS_SUCCESS;
	snprintf(text, sizeof(text), NAME ": line of level %d on channel %d: %s", level, node->channel, node->content);
	/* Its own lines are of level 6, and do not come here. */
	say(text);
	return SWITCH_STATUS_SUCCESS;
}

static switch_xml_t on_look_up(const char *section, const char *tag, const char *key, const char *value,
							   switch_event_t *params, void *user_data)
{
	char text[300];
	const switch_event_header_t *header;
	for (header = params ? params->headers : NULL; header && strcmp(header->name, "user"); header = header->next) {
	}
	snprintf(text, sizeof(text), NAME ": look-up %s %s %s %s user=%s for %s", section, tag, key, value,
			 header ? header->value : "", (const char *)user_data);
	say(text);
	return NULL;
}

static int on_row(void *data, int columns, char **values, char **names)
{
	switch_stream_handle_t *stream = data;
	char text[200];
	snprintf(text, sizeof(text), "%s=%s %s=%s %s=%s\n", names[0], values[0], names[1], values[1], names[2],
			 values[columns - 1]);
	stream->write_function(stream, "%s", text);
	return 0;
}

static void list_registrations(switch_stream_handle_t *stream)
{
	switch_cache_db_handle_t *handle;
	char *error = NULL;
	if (_switch_core_db_handle(&handle, __FILE__, __func__, __LINE__) != SWITCH_STATUS_SUCCESS) {
		stream->write_function(stream, "%s", "no handle\n");
		return;
	}
	switch_cache_db_execute_sql_callback(
		handle, "select network_ip, reg_user, realm from registrations where expires > 100", on_row, stream, &error);
	switch_cache_db_release_db_handle(&handle);
}

/* What a destructor of a thread-local value leaves on a thread, as the compilers of C++ and Rust have it. */
extern int __cxa_thread_atexit_impl(void (*destructor)(void *), void *value, void *dso);
extern void *__dso_handle;
static void destroy(void *value)
{
	(void)value;
}

static switch_status_t command(const char *arguments, switch_core_session_t *session, switch_stream_handle_t *stream)
{
	switch_xml_t node, root;
	(void)session;
	if (arguments && !strcmp(arguments, "registrations")) {
		list_registrations(stream);
	} else if (arguments && !strcmp(arguments, "settings")) {
		root = switch_xml_open_cfg("fail2ban.conf", &node, NULL);
		stream->write_function(stream, "%s", root ? "open\n" : "none\n");
		switch_xml_free(root);
	} else if (arguments && !strcmp(arguments, "leave")) {
		__cxa_thread_atexit_impl(destroy, NULL, &__dso_handle);
	} else {
		stream->write_function(stream, "%s", NAME);
	}
	return SWITCH_STATUS_SUCCESS;
}

static void application(switch_core_session_t *session, const char *data)
{
	char text[300];
	switch_channel_t *channel = switch_core_session_get_channel(session);
	const char *from = switch_channel_get_variable_dup(channel, "network_addr", SWITCH_TRUE, -1);
	const char *to = switch_channel_get_variable_dup(channel, "destination_number", SWITCH_TRUE, -1);
	const char *variable = switch_channel_get_variable_dup(channel, "sip_via_protocol", SWITCH_TRUE, -1);
	snprintf(text, sizeof(text), NAME ": %s from %s to %s by %s", data,
			 from ? from : "nowhere", to,
			 variable ? variable : "no variable");
	say(text);
}

static switch_status_t undo(void)
{
	if (custom) switch_event_unbind(&custom);
	if (message) switch_event_unbind(&message);
	if (logger_is_bound) switch_log_unbind_logger(on_log_line);
	logger_is_bound = 0;
	if (search) switch_xml_unbind_search_function(&search);
	search = NULL;
	return SWITCH_STATUS_SUCCESS;
}

static switch_status_t load(switch_loadable_module_interface_t **interface, switch_memory_pool_t *pool)
{
	if (!provide(interface, pool, command, application)) return SWITCH_STATUS_TERM;
	if (switch_event_bind_removable("probe", SWITCH_EVENT_CUSTOM, NULL, on_event, "the first", &custom) ||
		switch_event_bind_removable("probe", SWITCH_EVENT_MESSAGE, NULL, on_event, "the second", &message) ||
		switch_log_bind_logger(on_log_line, SWITCH_LOG_WARNING, SWITCH_FALSE)) {
		undo();
		return SWITCH_STATUS_TERM;
	}
	logger_is_bound = 1;
	if (switch_xml_bind_search_function_ret(on_look_up, SWITCH_XML_SECTION_DIRECTORY, "the search", &search)) {
		undo();
		return SWITCH_STATUS_TERM;
	}
	return SWITCH_STATUS_SUCCESS;
}

switch_loadable_module_function_table_t mod_fail2ban_module_interface = {SWITCH_API_VERSION, load, undo, NULL, 0};
