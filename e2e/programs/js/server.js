// A small HTTP server in JavaScript, in the way of service workers.
addEventListener('fetch', (event) => event.respondWith(handle(event.request)));

const text = (body, status = 200, headers = {}) =>
  new Response(body, { status, headers: { 'content-type': 'text/plain', ...headers } });

async function handle(request) {
  const url = new URL(request.url);
  switch (url.pathname) {
    case '/':
      console.log('a line for the log');
      console.error('a line of errors');
      return text('hello from javascript\n');
    case '/echo': {
      const fields = [...request.headers].filter(([name]) => name.startsWith('x-')).sort();
      const bytes = await request.arrayBuffer();
      const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
      const hex = [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
      const body = `${request.method} ${url.pathname}${url.search}\n${JSON.stringify(fields)}\n${bytes.byteLength} bytes, sha256 ${hex}\n`;
      return text(body, 418, { 'x-one': '1', 'x-two': 'a, b' });
    }
    case '/double':
      // Bytes go back as they come.
      return new Response(request.body, { headers: { 'content-type': 'application/octet-stream' } });
    case '/stream': {
      let n = 0;
      const encoder = new TextEncoder();
      const lines = new ReadableStream({
        pull(controller) {
          if (n === 2000) return controller.close();
          controller.enqueue(encoder.encode(`line ${String(n++).padStart(6, '0')}\n`.repeat(10)));
        },
      });
      return new Response(lines);
    }
    case '/fetch':
      try {
        await fetch('http://127.0.0.1:9/');
        return text('fetched\n');
      } catch (error) {
        return text(`not fetched: ${error.name}\n`);
      }
    case '/trap':
      throw new Error('as asked');
    default:
      return text(`nothing at ${url.pathname}\n`, 404);
  }
}
