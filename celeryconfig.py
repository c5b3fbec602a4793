"""Celery's settings, and nothing else. Loaded by path; reads the pipeline's settings for what depends on them.

Raises ConfigurationError where there is no broker to speak of.
"""

from kombu import Queue

from pipeline.settings import current
from pipeline.transport.address import celery_settings

_settings = current()
_broker = celery_settings(_settings.broker)

# -- broker -----------------------------------------------------------------------------------------------------------
broker_transport = "pipeline.transport.broker:Transport"
broker_url = _broker["broker_url"]
broker_user = _broker["broker_user"]
broker_password = _broker["broker_password"]
broker_transport_options = {
    # A frozen broker must not hold up whoever publishes.
    "socket_timeout": _settings.broker_timeout,
    "socket_connect_timeout": _settings.broker_timeout,
    # Seconds after which a consumer gives up a connection on which an answer is overdue.
    "health_check_interval": 5,
    "max_connections": 1000,
    # A producer tries once to connect; the ledger's recovery tries again. Workers try for ever, by their own rule.
    "max_retries": 0,
}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
# A broker that refuses to write (its disk is full, its replicas are gone) will again, and is tried until then.
broker_channel_error_retry = True
task_publish_retry = False

# -- messages ---------------------------------------------------------------------------------------------------------
task_serializer = "json"
accept_content = ["json"]
result_accept_content = ["json"]
event_serializer = "json"
enable_utc = True
timezone = "UTC"

# -- queues: a plain worker serves these three, strictly in this order; `archive` and `maintenance` are for `-Q` ------
task_queues = (Queue("urgent"), Queue("normal"), Queue("batch"))
task_default_queue = "normal"
task_routes = {
    "pipeline.recover": {"queue": "maintenance"},
    "pipeline.upkeep": {"queue": "maintenance"},
    "pipeline.archive*": {"queue": "archive"},
}

# -- running: the ledger decides, so the broker need not know who finished what ---------------------------------------
task_acks_late = False
task_ignore_result = True
task_store_errors_even_if_ignored = False
worker_pool = "pipeline.pool:TaskPool"
worker_consumer = "pipeline.transport.worker:Consumer"
worker_concurrency = _settings.worker_slots
worker_prefetch_multiplier = 0  # not by count of messages: the pool's free slots are the limit
worker_enable_prefetch_count_reduction = False
worker_eta_task_limit = 5000  # messages that one worker holds until their time has come
worker_disable_rate_limits = True
worker_cancel_long_running_tasks_on_connection_loss = False  # they were acknowledged when they began

# -- what operators see -----------------------------------------------------------------------------------------------
worker_enable_remote_control = True
worker_send_task_events = True
task_send_sent_event = False  # "received" says nearly the same; sending it would cost each submit a round trip
worker_hijack_root_logger = False
worker_redirect_stdouts = False

# -- beat -------------------------------------------------------------------------------------------------------------
beat_schedule = {
    "recover": {
        "task": "pipeline.recover",
        "schedule": _settings.recovery_interval,
        # Those that nobody took in time would only repeat what the next one does.
        "options": {"queue": "maintenance", "expires": _settings.recovery_interval * 2},
    },
    "upkeep": {
        "task": "pipeline.upkeep",
        "schedule": _settings.upkeep_interval,
        "options": {"queue": "maintenance", "expires": _settings.upkeep_interval * 2},
    },
    "archive-sweep": {
        "task": "pipeline.archive_sweep",
        "schedule": _settings.sweep_interval,
        "options": {"queue": "archive", "expires": _settings.sweep_interval * 2},
    },
}
beat_scheduler = "pipeline.beat:Scheduler"
beat_max_loop_interval = 5
