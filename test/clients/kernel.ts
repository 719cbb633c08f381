/** What engines need of this machine, and what they use in its place where it is missing. */
import { mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../support/program.ts';

export interface Abilities {
  /** Overlay file systems in the folder, which may lie on one itself. Without, each layer is copied. */
  readonly overlay: boolean;
  /** A folder for PATH, of programs that are to be found before the machine's own. */
  readonly programs: string;
}

/** @throws Error that says what is missing, for which there is nothing else */
export async function findAbilities(folder: string): Promise<Abilities> {
  const programs = join(folder, 'programs');
  mkdirSync(programs);
  if (!(await packetFilterWorks('iptables'))) {
    if (!(await packetFilterWorks('iptables-legacy')))
      throw new Error(
        'Docker needs address translation, and neither iptables (nf_tables) nor iptables-legacy can do it here: the kernel ' +
          'needs NF_TABLES with NFT_NAT, NFT_MASQ and NFT_COMPAT, or IP_NF_NAT; and the tests need root',
      );
    for (const name of ['iptables', 'iptables-save', 'iptables-restore'])
      symlinkSync(`/usr/sbin/${name.replace('iptables', 'iptables-legacy')}`, join(programs, name));
  }
  return { overlay: await overlayWorks(join(folder, 'overlay')), programs };
}

/** As dockerd uses it, in a network namespace that ends with it. */
async function packetFilterWorks(iptables: string): Promise<boolean> {
  const rules = `
    ${iptables} -w -t nat -A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE &&
    ${iptables} -w -t nat -A OUTPUT -m addrtype --dst-type LOCAL -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:1053 &&
    ${iptables} -w -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`;
  return (
    (await run('/usr/bin/unshare', ['--net', 'sh', '-c', rules], { env: { PATH: systemPath } })).code === 0
  );
}

async function overlayWorks(folder: string): Promise<boolean> {
  for (const name of ['lower', 'upper', 'work', 'merged']) mkdirSync(join(folder, name), { recursive: true });
  const mount =
    'cd "$1" && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && touch merged/made';
  const { code } = await run('/usr/bin/unshare', ['--mount', 'sh', '-c', mount, 'sh', folder], {
    env: { PATH: systemPath },
  });
  rmSync(folder, { recursive: true, force: true });
  return code === 0;
}

export const systemPath = '/usr/sbin:/usr/bin:/sbin:/bin';
