{% snapshot history %}
{{ config(unique_key='id', strategy='check', check_cols=['name']) }}
SELECT * FROM {{ ref('people') }}
{% endsnapshot %}
