/** Names of packages that other programs know: package URLs (purl) and CPE 2.3. */

export function debianPurl(pin: { name: string; version: string; architecture: string }): string {
  return `pkg:deb/debian/${encode(pin.name)}@${encode(pin.version)}?arch=${encode(pin.architecture)}`;
}

export function npmPurl(name: string, version: string): string {
  return `pkg:npm/${name.split('/').map(encode).join('/')}@${encode(version)}`;
}

/** For what no package registry publishes. */
export function genericPurl(name: string, version: string): string {
  return `pkg:generic/${encode(name)}@${encode(version)}`;
}

/** A colon stands as it is (purl specification, "character encoding"): the epoch of a Debian version has one. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll('%3A', ':');
}

/** Of a Debian version: without its epoch and revision. */
export function upstreamVersion(version: string): string {
  return version.replace(/^\d+:|-[^-]*$/g, '');
}

/** @param product `vendor:product` */
export function cpe(product: string, version: string, kind: 'a' | 'o' = 'a'): string {
  return `cpe:2.3:${kind}:${product}:${version.replaceAll(/[^\w.-]/g, '\\$&')}:*:*:*:*:*:*:*`;
}
