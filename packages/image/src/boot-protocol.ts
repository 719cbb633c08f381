/** What the guest image and whoever boots it must agree on. The `vm` package reads the same words. */

/** Serial number of the virtio disk that carries the root filesystem; at most 20 bytes (virtio 1.2, 5.2.6). */
export const rootDiskSerial = 'coracle-root';

/** /init prints `coracle-boot: STAGE` on the console as each stage begins. */
export const bootLinePrefix = 'coracle-boot: ';

export const bootStages = ['initrd', 'modules', 'root', 'agent'] as const;
export type BootStage = (typeof bootStages)[number];

/** /init prints `coracle-boot: failed: WHY` and then powers off, so that nobody waits for it. */
export const bootFailedWord = 'failed: ';

export const nodePath = '/usr/bin/node';
export const agentFolder = '/opt/coracle';
/** What the kernel, or the initramfs, starts as process 1: a script whose first line names Node and what it runs. */
export const agentInitPath = `${agentFolder}/init`;
/** The agent, loaded and compiled; an agent without a snapshot has agent.js. */
export const agentBlobPath = `${agentFolder}/agent.blob`;
export const agentScriptPath = `${agentFolder}/agent.js`;
