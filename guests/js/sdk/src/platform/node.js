// Node has a console, TextEncoder and TextDecoder of its own.

export function open() {}
