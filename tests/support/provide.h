/* What the test modules give the loader: the real module's command and application, by other functions. */
static int provide(switch_loadable_module_interface_t **interface, switch_memory_pool_t *pool,
				   switch_status_t (*command)(const char *, switch_core_session_t *, switch_stream_handle_t *),
				   void (*application)(switch_core_session_t *, const char *))
{
	switch_api_interface_t *api;
	switch_application_interface_t *app;
	if (!(*interface = switch_loadable_module_create_module_interface(pool, "mod_fail2ban")) ||
		!(api = switch_loadable_module_create_interface(*interface, SWITCH_API_INTERFACE)) ||
		!(app = switch_loadable_module_create_interface(*interface, SWITCH_APPLICATION_INTERFACE))) {
		return 0;
	}
	api->interface_name = "fail2ban";
	api->function = command;
	app->interface_name = "fail2ban_report";
	app->application_function = application;
	return 1;
}
