"""nginx as a reverse proxy before the mock: the floor, since it does nothing but pass on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from harness.bench.subjects.base import LOOPBACK, Site, Subject, free_port, program, running
from harness.bench.subjects.mock import CHAT

_CONFIG = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_buffer_size 1m;
  client_max_body_size 64m;
  client_body_temp_path {folder}/nginx-body;
  proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-fastcgi;
  uwsgi_temp_path {folder}/nginx-uwsgi;
  scgi_temp_path {folder}/nginx-scgi;
  keepalive_requests 100000000;
  upstream mocks {{ server {upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen {host}:{port} backlog=2048;
    location / {{
      proxy_pass http://mocks{path}/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


@asynccontextmanager
async def nginx(site: Site) -> AsyncIterator[Subject]:
    """Start it with a configuration of its own and one worker."""
    path = program("nginx", "HARNESS_NGINX", help="Debian: apt-get install nginx-light")
    port, upstream = free_port(), urlsplit(site.upstream)
    config = site.folder / "nginx.conf"
    config.write_text(
        _CONFIG.format(folder=site.folder, upstream=upstream.netloc, host=LOOPBACK, port=port, path=upstream.path)
    )
    arguments = [path, "-p", str(site.folder), "-e", "stderr", "-c", str(config)]
    async with running("nginx", arguments, port, site.folder) as pid:
        yield Subject(
            name="nginx",
            host=LOOPBACK,
            port=port,
            path=CHAT,
            headers={"authorization": "Bearer up-bench"},
            model="gpt-5.5",
            roots=(pid,),
            about="nginx as a reverse proxy, one worker: the floor",
        )
