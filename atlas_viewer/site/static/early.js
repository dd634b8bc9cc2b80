// Before a layer's page is drawn: if its address chooses units, the page's own are hidden, and their pictures not loaded.
if (/[#&](label|order|reverse|show|part)=/.test(location.hash)) document.documentElement.classList.add("choosing");
