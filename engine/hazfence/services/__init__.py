"""Private PostgreSQL/PostGIS, Redis and Kafka (or an embedded broker), for the demo and the tests.

Each service has its own folder, free port and password, answers on 127.0.0.1 only, and ends with the
process that started it. `Services` starts those that the environment does not name. Start reading in
`process.py`.
"""

from hazfence.services.broker import PrivateBroker
from hazfence.services.environment import Services
from hazfence.services.kafka import PrivateKafka, kafka_missing, private_broker
from hazfence.services.postgres import PrivatePostgres, fresh_database, with_database
from hazfence.services.process import PrivateService, ServiceError, free_port
from hazfence.services.redis_server import PrivateRedis

__all__ = [
    "PrivateBroker",
    "PrivateKafka",
    "PrivatePostgres",
    "PrivateRedis",
    "PrivateService",
    "ServiceError",
    "Services",
    "free_port",
    "fresh_database",
    "kafka_missing",
    "private_broker",
    "with_database",
]
