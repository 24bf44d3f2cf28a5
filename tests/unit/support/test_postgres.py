"""The server that tests stop and start."""

import psycopg
import pytest
from tests.support.postgres import PostgresServer, name_of, own_postgres_server

__all__ = ["own_postgres_server"]

pytestmark = pytest.mark.postgres


def test_it_comes_back_with_its_data_however_it_ended(own_postgres_server: PostgresServer) -> None:
    server = own_postgres_server
    url = server.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE said (word text)")
    for end in (server.stop, server.kill9):
        end()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(url, connect_timeout=5)
        server.start()
        with psycopg.connect(server.tcp_url(name_of(url)), autocommit=True) as connection:
            connection.execute("INSERT INTO said VALUES ('x')")
    server.restart()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM said").fetchall() == [(2,)]


def test_by_tcp_it_asks_for_a_password(own_postgres_server: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(own_postgres_server.tcp_url("postgres", password="wrong"))
