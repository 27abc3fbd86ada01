-- A database for Doppel: psql -f deploy/postgres.sql postgres, by a superuser, on the server of the tables and on each
-- server of vectors. Then \password doppel_publish, \password doppel_read.

-- doppel build, publish, rollback: makes schemas, tables and views.
CREATE ROLE doppel_publish LOGIN;

-- doppel serve: reads what was published; uploads are temporary tables of its own.
CREATE ROLE doppel_read LOGIN CONNECTION LIMIT 200;
ALTER ROLE doppel_read SET idle_in_transaction_session_timeout = '5min';

CREATE DATABASE spectra OWNER doppel_publish ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE spectra FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE spectra TO doppel_read;

-- Where vectors go, and q3c for cones where it is installed: extensions are the superuser's to make.
\connect spectra
CREATE EXTENSION vector SCHEMA public;
