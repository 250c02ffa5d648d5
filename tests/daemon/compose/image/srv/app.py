"""Counts visits in the database: answers with its host's name and the count."""

import http.server
import os
import socket
import subprocess
import sys
import urllib.request


def sql(*statements):
    words = ["psql", "-qAtX", "-h", os.environ["DATABASE"], "-U", "postgres"]
    for statement in statements:
        words += ["-c", statement]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


class Visit(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/health":
            return self.answer("well")
        count = sql("insert into visits default values", "select count(*) from visits")
        self.answer(f"{socket.gethostname()} {count}")

    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode() + b"\n")


if "--ask" in sys.argv:
    sys.exit(urllib.request.urlopen("http://127.0.0.1:8000/health", timeout=3).status != 200)
sql("create table if not exists visits (at timestamp default now())")
print("serving", flush=True)
try:
    http.server.ThreadingHTTPServer(("", 8000), Visit).serve_forever()
except KeyboardInterrupt:
    print("ending", flush=True)
