// A small tool: what a JavaScript program does with standard streams, files, clocks and the processor. Its output
// depends on nothing but its arguments, its input and the folder it is given.
import { getArguments, getEnvironment } from 'wasi:cli/environment@0.2.12';
import { exitWithCode } from 'wasi:cli/exit@0.2.12';
import { getStdin } from 'wasi:cli/stdin@0.2.12';
import { now as monotonic, subscribeDuration } from 'wasi:clocks/monotonic-clock@0.2.12';
import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';
import { getRandomBytes } from 'wasi:random/random@0.2.12';

export const run = {
  run() {
    const args = getArguments().slice(1);
    const commands = { echo, files, clocks, compute, throw: fail };
    const command = commands[args[0]];
    if (!command) {
      console.error(`tool: no command ${args[0]}`);
      throw undefined;
    }
    command(...args.slice(1));
  },
};

// FNV-1a: the engine has no digest that needs no promise.
function digest(bytes) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return hash.toString(16);
}

function echo(...args) {
  args.forEach((arg, index) => console.log(`arg ${index + 1}: ${arg}`));
  for (const [name, value] of getEnvironment().sort()) console.log(`env: ${name}=${value}`);
  const input = readAll(getStdin());
  console.log(`stdin: ${input.length} bytes, FNV ${digest(input)}`);
  console.error('tool: echoed');
  if (args[0]) exitWithCode(Number(args[0]));
}

function readAll(stream) {
  const chunks = [];
  for (;;) {
    try {
      chunks.push(...stream.blockingRead(65536n));
    } catch (error) {
      if (error.payload?.tag === 'closed') return Uint8Array.from(chunks);
      throw error;
    }
  }
}

// Prints what a step gave. Errors of wasi:filesystem come as the payload of an exception.
function step(what, action) {
  let text;
  try {
    const value = action();
    text = JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? `${v}n` : v));
  } catch (error) {
    text = `error ${JSON.stringify(error.payload ?? String(error))}`;
  }
  console.log(`${what}: ${text}`);
}

const FOLLOW = { symlinkFollow: true };
const READ = { read: true };
const WRITE = { read: true, write: true };

function files(name) {
  const [root] = getDirectories().find(([, path]) => path === name) ?? [];
  if (!root) throw new Error(`no folder ${name}`);
  const open = (path, create, flags, follow = FOLLOW) => root.openAt(follow, path, create, flags);
  const write = (path, bytes) => {
    const file = open(path, { create: true, truncate: true }, WRITE);
    let offset = 0n;
    // A write takes what fits.
    while (offset < BigInt(bytes.length)) offset += file.write(bytes.slice(Number(offset), Number(offset) + 65536), offset);
    return offset;
  };
  const read = (path) => {
    const file = open(path, {}, READ);
    const bytes = [];
    for (;;) {
      const [chunk, end] = file.read(65536n, BigInt(bytes.length));
      for (const byte of chunk) bytes.push(byte);
      if (end) break;
    }
    return bytes.length < 64 ? String.fromCharCode(...bytes) : [bytes.length, digest(bytes)];
  };
  const list = (path) => {
    const stream = open(path, { directory: true }, READ).readDirectory();
    const names = [];
    for (let entry; (entry = stream.readDirectoryEntry()); ) names.push(`${entry.name} ${entry.type}`);
    return names.sort();
  };
  const text = (string) => new TextEncoder().encode(string);

  step('mkdir', () => root.createDirectoryAt('work'));
  step('mkdir again', () => root.createDirectoryAt('work'));
  step('mkdir deep', () => root.createDirectoryAt('work/deep'));
  step('mkdir without parent', () => root.createDirectoryAt('absent/deep'));
  step('write', () => write('work/a.txt', text('first line\n')));
  step('append', () => {
    const stream = open('work/a.txt', {}, WRITE).appendViaStream();
    stream.blockingWriteAndFlush(text('second line\n'));
  });
  step('read', () => read('work/a.txt'));
  step('create exclusively', () => open('work/a.txt', { create: true, exclusive: true }, WRITE));
  const big = Uint8Array.from({ length: 200_000 }, (_, n) => Math.imul(n, 2654435761) >>> 24);
  step('write much', () => write('work/big.bin', big));
  step('read much', () => read('work/big.bin'));
  step('patch', () => open('work/big.bin', {}, WRITE).write(text('patched'), 100n));
  step('shrink', () => open('work/big.bin', {}, WRITE).setSize(5000n));
  step('grow', () => open('work/big.bin', {}, WRITE).setSize(6000n));
  step('sync', () => open('work/big.bin', {}, WRITE).sync());
  step('set times', () => {
    const time = { tag: 'timestamp', val: { seconds: 1234567890n, nanoseconds: 500000000 } };
    open('work/big.bin', {}, WRITE).setTimes(time, time);
  });
  step('stat', () => {
    const { type, linkCount, size, dataModificationTimestamp } = root.statAt(FOLLOW, 'work/big.bin');
    return { type, linkCount, size, dataModificationTimestamp };
  });
  step('read patched', () => read('work/big.bin'));
  step('rename', () => root.renameAt('work/a.txt', root, 'work/deep/b.txt'));
  step('write other', () => write('work/c.txt', text('replaced\n')));
  step('rename over', () => root.renameAt('work/deep/b.txt', root, 'work/c.txt'));
  step('rename absent', () => root.renameAt('work/absent', root, 'work/d.txt'));
  step('hard link', () => root.linkAt({}, 'work/c.txt', root, 'work/hard.txt'));
  step('symlink', () => root.symlinkAt('c.txt', 'work/soft.txt'));
  step('symlink out', () => root.symlinkAt('../../../etc/passwd', 'work/out'));
  step('symlink absolute', () => root.symlinkAt('/etc/passwd', 'work/absolute'));
  step('readlink', () => root.readlinkAt('work/soft.txt'));
  step('through link', () => read('work/soft.txt'));
  step('link not followed', () => open('work/soft.txt', {}, READ, {}));
  step('through link out', () => read('work/out'));
  step('link itself', () => root.statAt({}, 'work/soft.txt').type);
  step('same', () => open('work/c.txt', {}, READ).isSameObject(open('work/hard.txt', {}, READ)));
  step('hashes agree', () => {
    const [one, other] = ['work/c.txt', 'work/hard.txt'].map((path) => root.metadataHashAt(FOLLOW, path));
    return one.lower === other.lower && one.upper === other.upper;
  });
  step('list', () => list('work'));
  step('type', () => root.getType());
  step('flags', () => open('work/c.txt', {}, WRITE).getFlags());
  step('write without leave', () => open('work/c.txt', {}, READ).write(text('x'), 0n));
  step('absent', () => read('work/absent'));
  step('file as directory', () => list('work/c.txt'));
  step('escape by dots', () => read('work/../../etc/passwd'));
  step('escape by root', () => read('/etc/passwd'));
  step('remove full', () => root.removeDirectoryAt('work'));
  step('remove file as directory', () => root.removeDirectoryAt('work/c.txt'));
  step('unlink directory', () => root.unlinkFileAt('work/deep'));
  step('remove directory', () => root.removeDirectoryAt('work/deep'));
  step('unlink', () => root.unlinkFileAt('work/hard.txt'));
  step('unlink again', () => root.unlinkFileAt('work/hard.txt'));
  step('mkdir many', () => root.createDirectoryAt('many'));
  step('write many', () => {
    for (let n = 0; n < 100; n++) write(`many/entry with a rather long name, number ${n}`, text(`${n}`));
  });
  step('list many', () => list('many').length);
}

function clocks() {
  const before = monotonic();
  subscribeDuration(20_000_000n).block();
  console.log('slept at least 20 ms:', monotonic() - before >= 20_000_000n);
  console.log('after 2024:', Date.now() > 1704067200000);
  console.log('two numbers differ:', String(getRandomBytes(16n)) !== String(getRandomBytes(16n)));
}

function compute() {
  const data = Uint8Array.from({ length: 1 << 17 }, (_, i) => (i * 31) ^ (i >> 8));
  console.log('FNV', digest(data));
  const value = JSON.parse('{"name": "möte", "list": [1, 2.5, -3e10, null, true], "nested": {"b": 1}}');
  console.log(JSON.stringify(value, null, 2));
  try {
    JSON.parse('{"a": [1, }');
  } catch (error) {
    console.log('no JSON:', error.message);
  }
  let sum = 0;
  for (let i = 1; i <= 200_000; i++) sum += 1 / (i * i);
  console.log('sum', sum);
  let product = 1n;
  for (let i = 1n; i <= 60n; i++) product *= i;
  console.log('60! =', String(product));
  console.log('hello world, good day'.replace(/(\w+) (\w+)/g, '$2 $1'), [3, 1, 2].toSorted().join());
  try {
    (function deeper(n) { return deeper(n + 1) + 1; })(0);
  } catch (error) {
    console.log(error.name);
  }
}

function fail() {
  throw new Error('as asked');
}
