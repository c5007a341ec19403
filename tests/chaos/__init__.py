"""Process chaos: real roles, own PostgreSQL and RabbitMQ, a fake ERP as referee, faults by a seed. `make chaos`."""
