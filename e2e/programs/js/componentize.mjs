// componentize.mjs SOURCE WIT WORLD OUT [FEATURE...]: makes a component of a JavaScript file, without the engine's
// features that are named. Stands in a copy beside node_modules, where Node looks for packages.
import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const [sourcePath, witPath, worldName, out, ...disableFeatures] = process.argv.slice(2);
const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures });
await writeFile(out, component);
