// What Node programs ask of a kernel: an HTTP server, files, child processes, worker threads, WebAssembly.
const http = require("http");
const fs = require("fs/promises");
const os = require("os");
const { execFile } = require("child_process");
const { promisify } = require("util");
const { Worker } = require("worker_threads");

const empty = new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]));

async function work() {
  const place = await fs.mkdtemp(os.tmpdir() + "/node-");
  await fs.writeFile(place + "/file", "written");
  const read = await fs.readFile(place + "/file", "utf8");
  const child = await promisify(execFile)("echo", ["child"]);
  const worker = new Worker("require('worker_threads').parentPort.postMessage('worker')", { eval: true });
  const said = await new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  new WebAssembly.Instance(empty);
  return [read, child.stdout.trim(), said].join(" ");
}

const server = http.createServer((request, response) => {
  work().then(
    (text) => response.end("node: " + text),
    (error) => response.writeHead(500).end(String(error)),
  );
});
process.on("SIGTERM", () => server.close(() => process.exit(0)) && server.closeAllConnections());
server.listen(8080);
