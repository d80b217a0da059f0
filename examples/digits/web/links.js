// Links to the project: its repository, its documents and the code behind the page.

// Gives the page's links their addresses. Where an address is empty, there is no link: lines of links are hidden.
// `data-path` is a path in the repository, and `data-reference` marks links to the library's reference.
export function link({ repository, documentation }) {
  for (const anchor of document.querySelectorAll('[data-path], [data-reference]')) {
    const { path } = anchor.dataset;
    const inRepository = repository && path ? `${repository}/blob/HEAD/${path}` : repository;
    const address = path === undefined ? documentation : inRepository;
    anchor.toggleAttribute('href', Boolean(address));
    if (address) anchor.href = address;
    anchor.hidden = !address;
  }
  for (const line of document.querySelectorAll('.links')) line.hidden = !line.querySelector('[href]');
}
