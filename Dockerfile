# A node in a container.
#
#   docker build -t makoredis .
#   docker run -p 6380:6380 -v makoredis-data:/data -v $PWD/conf:/conf:ro makoredis --config /conf/single.yml --bind 0.0.0.0 --dir /data
#
# Protected mode: like Redis, a server without a password answers loopback clients only. In a container every client
# comes from outside, so one of these is needed before anybody can connect:
#
# * a password: in the configuration file `parameters: {requirepass: …}` (preferred), or
# * `parameters: {protected-mode: no}`, if the network that the port is published to is trusted.
FROM python:3.12-slim

COPY . /src
RUN pip install --no-cache-dir /src \
    && rm -rf /src \
    && useradd --system --uid 999 --no-create-home makoredis \
    && install -d -o makoredis -g makoredis /data

USER makoredis
WORKDIR /data
VOLUME /data
EXPOSE 6380

# From within the container the check is a loopback client, so protected mode does not refuse it. A server that asks
# for a password answers NOAUTH: it is alive.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", "import socket, sys; s = socket.create_connection(('127.0.0.1', 6380), 2); s.sendall(b'PING\\r\\n'); sys.exit(not s.recv(64).startswith((b'+PONG', b'-NOAUTH')))"]

ENTRYPOINT ["makoredis"]
CMD ["--bind", "0.0.0.0", "--port", "6380", "--dir", "/data"]
