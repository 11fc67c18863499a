/*
 * The part of FreeSWITCH's C interface (module API version 5, 1.10.7 to 1.11.2)
 * that mod_fail2ban uses, declared in our own words from the facts of the ABI.
 * Names, order, sizes and numbers are the host's; nothing else here is.
 *
 * `cargo test` holds every size, offset and number against the measured facts
 * in tests/data/freeswitch-abi-x86_64.json; `make live` compiles the same
 * check against the headers of an installed FreeSWITCH.
 */
#ifndef MOD_FAIL2BAN_SWITCH_H
#define MOD_FAIL2BAN_SWITCH_H

#include <stddef.h>
#include <stdint.h>

#define SWITCH_API_VERSION 5

/* Handles that the host owns and the module only passes back. */
typedef struct switch_memory_pool_opaque switch_memory_pool_t;
typedef struct switch_core_session switch_core_session_t;
typedef struct switch_event_node switch_event_node_t;
typedef struct switch_thread_rwlock_opaque switch_thread_rwlock_t;
typedef struct switch_mutex_opaque switch_mutex_t;
typedef struct switch_channel switch_channel_t;
typedef struct switch_xml_binding switch_xml_binding_t;
typedef struct switch_cache_db_handle switch_cache_db_handle_t;

typedef enum { SWITCH_FALSE = 0, SWITCH_TRUE = 1 } switch_bool_t;

typedef enum {
	SWITCH_STATUS_SUCCESS = 0,
	SWITCH_STATUS_FALSE = 1,
	SWITCH_STATUS_MEMERR = 6,
	SWITCH_STATUS_GENERR = 9,
	SWITCH_STATUS_NOUNLOAD = 16,
	SWITCH_STATUS_TERM = 21
} switch_status_t;

/* ---- modules ---- */

typedef enum { SMODF_NONE = 0, SMODF_GLOBAL_SYMBOLS = 1 } switch_module_flag_enum_t;
typedef enum { SWITCH_APPLICATION_INTERFACE = 4, SWITCH_API_INTERFACE = 5 } switch_module_interface_name_t;

/* What an application can do without: NOMEDIA, media; ROUTING_EXEC, a route (it may run while one is looked for). */
typedef enum { SAF_NONE = 0, SAF_SUPPORT_NOMEDIA = 1, SAF_ROUTING_EXEC = 2 } switch_application_flag_enum_t;

typedef struct switch_stream_handle switch_stream_handle_t;
typedef struct switch_api_interface switch_api_interface_t;
typedef struct switch_application_interface switch_application_interface_t;
typedef struct switch_loadable_module_interface switch_loadable_module_interface_t;

typedef switch_status_t (*switch_module_load_t)(switch_loadable_module_interface_t **module_interface,
												switch_memory_pool_t *pool);
typedef switch_status_t (*switch_module_runtime_t)(void);
typedef switch_status_t (*switch_module_shutdown_t)(void);

/* What the loader looks up as `<module>_module_interface`. */
typedef struct switch_loadable_module_function_table {
	int switch_api_version;
	switch_module_load_t load;
	switch_module_shutdown_t shutdown;
	switch_module_runtime_t runtime;
	unsigned int flags;
} switch_loadable_module_function_table_t;

struct switch_loadable_module_interface {
	const char *module_name;
	void *endpoint_interface;
	void *timer_interface;
	void *dialplan_interface;
	void *codec_interface;
	switch_application_interface_t *application_interface;
	void *chat_application_interface;
	switch_api_interface_t *api_interface;
	void *json_api_interface;
	void *interfaces_not_used_here[9];
	switch_thread_rwlock_t *rwlock;
	int refs;
	switch_memory_pool_t *pool;
};

typedef switch_status_t (*switch_api_function_t)(const char *cmd, switch_core_session_t *session,
												 switch_stream_handle_t *stream);

struct switch_api_interface {
	const char *interface_name;
	const char *desc;
	switch_api_function_t function;
	const char *syntax;
	switch_thread_rwlock_t *rwlock;
	int refs;
	switch_mutex_t *reflock;
	switch_loadable_module_interface_t *parent;
	struct switch_api_interface *next;
};

typedef void (*switch_application_function_t)(switch_core_session_t *session, const char *data);

struct switch_application_interface {
	const char *interface_name;
	switch_application_function_t application_function;
	const char *long_desc;
	const char *short_desc;
	const char *syntax;
	uint32_t flags;
	switch_thread_rwlock_t *rwlock;
	int refs;
	switch_mutex_t *reflock;
	switch_loadable_module_interface_t *parent;
	struct switch_application_interface *next;
};

typedef switch_status_t (*switch_stream_handle_write_function_t)(switch_stream_handle_t *handle, const char *fmt, ...);

struct switch_stream_handle {
	void *read_function;
	switch_stream_handle_write_function_t write_function;
	void *raw_write_function;
	void *data;
	void *end;
	size_t data_size;
	size_t data_len;
	size_t alloc_len;
	size_t alloc_chunk;
	void *param_event;
};

switch_loadable_module_interface_t *switch_loadable_module_create_module_interface(switch_memory_pool_t *pool,
																				   const char *name);
void *switch_loadable_module_create_interface(switch_loadable_module_interface_t *mod,
											  switch_module_interface_name_t iname);
switch_status_t switch_console_set_complete(const char *string);

/* ---- events ---- */

typedef enum {
	SWITCH_EVENT_CUSTOM = 0,
	SWITCH_EVENT_CHANNEL_HANGUP_COMPLETE = 8,
	SWITCH_EVENT_MESSAGE = 37,
	SWITCH_EVENT_PRESENCE_PROBE = 41,
	SWITCH_EVENT_MESSAGE_QUERY = 43,
	SWITCH_EVENT_TRAP = 51,
	SWITCH_EVENT_RELOADXML = 56,
	SWITCH_EVENT_PHONE_FEATURE_SUBSCRIBE = 59,
	SWITCH_EVENT_CONFERENCE_DATA_QUERY = 84
} switch_event_types_t;

typedef enum { SWITCH_STACK_BOTTOM = 1 } switch_stack_t;

typedef struct switch_event_header {
	char *name;
	char *value;
	char **array;
	int idx;
	unsigned long hash;
	struct switch_event_header *next;
} switch_event_header_t;

typedef struct switch_event {
	switch_event_types_t event_id;
	int priority;
	char *owner;
	char *subclass_name;
	switch_event_header_t *headers;
	switch_event_header_t *last_header;
	char *body;
	void *bind_user_data;
	void *event_user_data;
	unsigned long key;
	struct switch_event *next;
	int flags;
} switch_event_t;

typedef void (*switch_event_callback_t)(switch_event_t *event);

switch_status_t switch_event_bind_removable(const char *id, switch_event_types_t event, const char *subclass_name,
											switch_event_callback_t callback, void *user_data,
											switch_event_node_t **node);
switch_status_t switch_event_unbind(switch_event_node_t **node);

/* ---- the log ---- */

typedef enum {
	SWITCH_CHANNEL_ID_LOG = 0,
	SWITCH_CHANNEL_ID_LOG_CLEAN = 1,
	SWITCH_CHANNEL_ID_EVENT = 2,
	SWITCH_CHANNEL_ID_SESSION = 3
} switch_text_channel_t;

typedef enum {
	SWITCH_LOG_CONSOLE = 0,
	SWITCH_LOG_ALERT = 1,
	SWITCH_LOG_CRIT = 2,
	SWITCH_LOG_ERROR = 3,
	SWITCH_LOG_WARNING = 4,
	SWITCH_LOG_NOTICE = 5,
	SWITCH_LOG_INFO = 6,
	SWITCH_LOG_DEBUG = 7
} switch_log_level_t;

typedef struct switch_log_node {
	char *data;
	char file[80];
	uint32_t line;
	char func[80];
	switch_log_level_t level;
	int64_t timestamp;
	char *content;
	char *userdata;
	switch_text_channel_t channel;
	switch_log_level_t slevel;
	switch_event_t *tags;
	int64_t sequence;
	void *meta;
} switch_log_node_t;

typedef switch_status_t (*switch_log_function_t)(const switch_log_node_t *node, switch_log_level_t level);

void switch_log_printf(switch_text_channel_t channel, const char *file, const char *func, int line,
					   const char *userdata, switch_log_level_t level, const char *fmt, ...);
switch_status_t switch_log_bind_logger(switch_log_function_t function, switch_log_level_t level,
									   switch_bool_t is_console);
switch_status_t switch_log_unbind_logger(switch_log_function_t function);

/* ---- configuration and the core ---- */

typedef struct switch_xml *switch_xml_t;

struct switch_xml {
	char *name;
	char **attr;
	char *txt;
	char *free_path;
	size_t off;
	switch_xml_t next;
	switch_xml_t sibling;
	switch_xml_t ordered;
	switch_xml_t child;
	switch_xml_t parent;
	uint32_t flags;
	switch_bool_t is_switch_xml_root_t;
	uint32_t refs;
	uint64_t reserved[2];
};

switch_xml_t switch_xml_open_cfg(const char *file_path, switch_xml_t *node, switch_event_t *params);
char *switch_xml_toxml_ex(switch_xml_t xml, switch_bool_t prn_header, switch_bool_t use_utf8_encoding);
void switch_xml_free(switch_xml_t xml);
/* With `dup`, of a copy that is freed with the document. */
switch_xml_t switch_xml_parse_str_dynamic(char *text, switch_bool_t dup);
/* The first child of a name, or null. */
switch_xml_t switch_xml_child(switch_xml_t xml, const char *name);
/* Sets an attribute to copies of the texts; gives the element. */
switch_xml_t switch_xml_set_attr_d(switch_xml_t xml, const char *name, const char *value);
switch_status_t switch_xml_locate_user_merged(const char *key, const char *user_name, const char *domain_name,
											  const char *ip, switch_xml_t *user, switch_event_t *params);
switch_status_t switch_xml_reload(const char **err);

/* Sections of the host's XML in which a search function is asked first. */
typedef enum { SWITCH_XML_SECTION_DIRECTORY = 2 } switch_xml_section_enum_t;

/* Answers a look-up, or gives null and the search goes on. Called under the lock that unbinding takes. */
typedef switch_xml_t (*switch_xml_search_function_t)(const char *section, const char *tag_name, const char *key_name,
													 const char *key_value, switch_event_t *params, void *user_data);
switch_status_t switch_xml_bind_search_function_ret(switch_xml_search_function_t function, uint32_t sections,
													void *user_data, switch_xml_binding_t **binding);
switch_status_t switch_xml_unbind_search_function(switch_xml_binding_t **binding);

/* ---- calls ---- */

switch_channel_t *switch_core_session_get_channel(switch_core_session_t *session);
const char *switch_channel_get_variable_dup(switch_channel_t *channel, const char *name, switch_bool_t dup, int index);
switch_status_t switch_channel_set_variable_var_check(switch_channel_t *channel, const char *name, const char *value,
													  switch_bool_t var_check);

/* ---- the core's database ---- */

typedef int (*switch_core_db_callback_func_t)(void *data, int columns, char **values, char **names);
switch_status_t _switch_core_db_handle(switch_cache_db_handle_t **handle, const char *file, const char *func, int line);
switch_status_t switch_cache_db_execute_sql_callback(switch_cache_db_handle_t *handle, const char *sql,
													 switch_core_db_callback_func_t callback, void *data,
													 char **error);
void switch_cache_db_release_db_handle(switch_cache_db_handle_t **handle);

typedef struct switch_directories {
	char *base_dir;
	char *mod_dir;
	char *conf_dir;
	char *log_dir;
	char *run_dir;
	char *db_dir;
	char *script_dir;
	char *temp_dir;
	char *directories_not_used_here[12];
} switch_directories;

extern switch_directories SWITCH_GLOBAL_dirs;

switch_bool_t switch_core_ready(void);

switch_bool_t switch_check_network_list_ip_token(const char *ip_str, const char *list_name, const char **token);

#endif
